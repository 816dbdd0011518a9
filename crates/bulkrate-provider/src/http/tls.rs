//! TLS with ring and the system's certificates. No process-wide provider is installed.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::registry::OpenError;

/// A client configuration that trusts the system's roots and those in `ca_file`. The system's are read once for all accounts.
pub(super) fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, OpenError> {
    static SYSTEM: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if ca_file.is_some() {
        return build(ca_file).map(Arc::new);
    }
    if let Some(config) = SYSTEM.get() {
        return Ok(Arc::clone(config));
    }
    let config = build(None).map(Arc::new)?;
    Ok(Arc::clone(SYSTEM.get_or_init(|| config)))
}

fn build(ca_file: Option<&Path>) -> Result<ClientConfig, OpenError> {
    let failed = |why: rustls::Error| OpenError::Tls { why: why.to_string() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = ca_file.map_or_else(|| Ok(Vec::new()), read_roots)?;
    let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(roots, Arc::clone(&provider))
        .map_err(failed)?;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .dangerous() // the name of rustls's door to any verifier of one's own; this one is the system's
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

fn read_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, OpenError> {
    let failed = |why: String| OpenError::CaFile { path: path.display().to_string(), why };
    let roots: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| failed(error.to_string()))?;
    if roots.is_empty() {
        return Err(failed("it holds no certificate".to_owned()));
    }
    Ok(roots)
}
