"""The file formats a scan can read from the first byte to the last; one file each, none imports a framework."""
