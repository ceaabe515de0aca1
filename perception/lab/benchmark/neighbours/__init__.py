"""A pilot beside a neighbour: viewers of the page, an attacking broker."""
