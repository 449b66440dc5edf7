"""What a penalty is: its value, its groups, its proximal operator."""
