"""The benchmark report as one HTML file: tables and plots drawn here as SVG, no script and no outside request."""
