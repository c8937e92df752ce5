//! Pictures far outside of what the bundle was calibrated with get no verdict, and calibration refuses mixed sets.
