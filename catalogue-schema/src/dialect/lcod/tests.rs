//! Tests of the LCOD reader.
