"""Program and target to variant: the target family, calibration sets, and exporting side by side with a cache."""
