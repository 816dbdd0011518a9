//! Results that come in several files, and are one.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use super::Sheet;

/// Where one of them is kept until all are there.
pub(crate) fn beside(to: &Path, place: usize) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(format!(".{place}"));
    PathBuf::from(name)
}

/// The pieces as one file, in place of them. The last line of a piece may have no end of its own.
pub(crate) async fn join(pieces: &[PathBuf], to: &Path) -> std::io::Result<u64> {
    let mut sheet = Sheet::begin(to).await?;
    let mut bytes = 0;
    for piece in pieces {
        let mut piece = tokio::fs::File::open(piece).await?;
        let copied = tokio::io::copy(&mut piece, &mut sheet.out).await?;
        bytes += copied;
        if copied > 0 {
            piece.seek(SeekFrom::End(-1)).await?;
            if piece.read_u8().await? != b'\n' {
                sheet.out.write_all(b"\n").await?;
                bytes += 1;
            }
        }
    }
    sheet.end(to).await?;
    for piece in pieces {
        tokio::fs::remove_file(piece).await?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn pieces_are_joined_line_by_line_and_are_the_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("output.jsonl");
        let pieces: Vec<PathBuf> = ["a\nb", "", "c\n", "d"]
            .iter()
            .enumerate()
            .map(|(place, text)| {
                let piece = beside(&to, place);
                std::fs::write(&piece, text).unwrap();
                piece
            })
            .collect();
        assert_eq!(join(&pieces, &to).await.unwrap(), 8);
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "a\nb\nc\nd\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
