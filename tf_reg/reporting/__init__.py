"""Reports: one file of HTML with the tables and pictures of a result."""
