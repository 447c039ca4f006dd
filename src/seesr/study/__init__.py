"""The paper's user study: made, served to raters, and evaluated."""
