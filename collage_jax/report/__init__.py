"""A placement for people and files: table, page, drawing, JSON, difference."""
