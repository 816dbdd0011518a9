//! A suite that every adapter must pass against a simulator.
