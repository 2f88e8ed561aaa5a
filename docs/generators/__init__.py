"""What of the documentation is made from the code at build time: one module for each page or drawing, values
in, Markdown out. Where it goes in the site is in hooks."""
