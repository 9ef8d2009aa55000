//! What can be done with a data folder while no tower runs on it.

use std::path::Path;
use std::sync::Arc;

use hmsops_disk::{Disk, RealDisk};
use hmsops_ledger::Report;
use hmsops_wire::api;

/// The ledger's folder in the data folder.
pub const LEDGER: &str = "ledger";

/// The file of retreats' lines in the data folder.
pub const SPILL: &str = "spill";

/// A folder as the disk that gateways keep their state on. Makes it when it isn't there.
pub fn disk(dir: &Path) -> Result<Arc<dyn Disk>, String> {
    let disk = RealDisk::new(dir).map_err(|error| error.chain())?;
    Ok(Arc::new(disk))
}

/// Checks the ledger of a data folder, whether or not a tower runs on it. The error says why it cannot be read.
pub fn verify(data: &Path) -> Result<api::Verified, String> {
    if !data.is_dir() {
        return Err(format!("there is no folder `{}`", data.display()));
    }
    let disk = RealDisk::new(data).map_err(|error| error.chain())?;
    let Report { entries, root, checkpoint_size, torn, first_bad, .. } =
        hmsops_ledger::verify(&disk, LEDGER).map_err(|error| error.chain())?;
    Ok(api::Verified {
        whole: first_bad.is_none(),
        entries,
        root: root.to_base64(),
        checkpoint_size,
        torn_bytes: torn.map_or(0, |torn| torn.bytes),
        first_bad: first_bad.map(|found| found.to_string()),
    })
}

/// Where the tower of a data folder is reached from this machine, when that takes TLS.
pub fn tls_server(data: &Path) -> Option<String> {
    let text = std::fs::read_to_string(data.join(crate::tls::FOLDER).join(crate::tls::SERVER)).ok()?;
    Some(text.trim().to_owned()).filter(|server| server.starts_with("https://") && server.len() < 300)
}

/// The file of certificates by which the tower of a data folder is recognised, when it speaks TLS.
pub fn served(data: &Path) -> Option<std::path::PathBuf> {
    Some(data.join(crate::tls::FOLDER).join(crate::tls::SERVED)).filter(|file| file.is_file())
}

/// Refuses a file with a secret in it that others than its owner can read or write, or that is somebody else's; one that
/// is not there is nobody's. The error says the remedy.
pub fn check_private(path: &Path) -> Result<(), String> {
    crate::secret::check_private(path).map_err(|error| error.to_string())
}

/// The admin token of a data folder, when it can be read.
pub fn admin_token(data: &Path) -> Option<String> {
    let text = std::fs::read_to_string(data.join(super::auth::TOKEN_FILE)).ok()?;
    Some(text.trim().to_owned()).filter(|token| super::token::is_well_formed(token))
}
