"""An optimizer that ends its steps in the proximal operator of the penalties."""
