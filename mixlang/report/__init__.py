"""The report page: figures as SVG and one self-contained HTML file."""
