//! Files of learned routers.

use bulkrate_core::route::learned::{FORMAT, Router, Scratch};
use sha2::{Digest as _, Sha256};

/// What follows the mark and the version, up to the checksum: those are put around it, or nothing would be read. A router that
/// is read scores any text, and what is written of it reads back as the same bytes.
pub fn router(bytes: &[u8]) {
    let _ = Router::from_bytes(bytes);
    (1..=FORMAT).for_each(|version| sealed(version, bytes));
}

fn sealed(version: u16, bytes: &[u8]) {
    let mut sealed = b"bulkrate router\n".to_vec();
    sealed.extend_from_slice(&version.to_le_bytes());
    sealed.extend_from_slice(bytes);
    let sum = Sha256::digest(&sealed);
    sealed.extend_from_slice(&sum);
    let Ok(router) = Router::from_bytes(&sealed) else { return };
    let mut scratch = Scratch::default();
    for text in ["", "name the colour of a stone", "\u{130}\u{0}?\n9"] {
        assert_eq!(router.decide(text, &mut scratch), router.decide(text, &mut scratch));
    }
    let written = router.to_bytes();
    let again = Router::from_bytes(&written).map(|router| router.to_bytes());
    assert!(again.is_ok_and(|again| again == written), "what was written reads back");
}
