//! Tokens and secrets: computed, never stored (rule 24).
//!
//! A grant's token is HMAC-SHA-256 (RFC 2104, FIPS 180-4) under the cluster's token key over zone,
//! lock id, session and fence. Every server has the key, so every server computes the same token
//! for a retry or a late grant, and checks a presented one before it proposes anything.

use super::input::{Proof, Token, Verify};
use crate::ids::{SessionId, ZoneId};
use crate::machine::Machine;
use crate::machine::answer::Grant;
use crate::machine::key::lock_id;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// What only the servers of the cluster know.
#[derive(Clone)]
pub struct Secrets {
    /// The key of all tokens and session secrets. In a file of each server, in no log and no
    /// snapshot.
    pub token_key: [u8; 32],
}

impl core::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secrets(..)")
    }
}

/// Makes the tokens of grants and the secrets of sessions, and knows them again.
pub struct Proofs {
    /// Keyed once: each token then costs the two halves of its own hash only.
    keyed: Hmac<Sha256>,
}

impl core::fmt::Debug for Proofs {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Proofs(..)")
    }
}

impl Proofs {
    /// Under this key.
    pub fn new(secrets: &Secrets) -> Self {
        // RFC 2104, §2: a key shorter than the block of the hash is padded with zeros.
        let mut block = [0; 64];
        for (to, from) in block.iter_mut().zip(secrets.token_key) {
            *to = from;
        }
        Self {
            keyed: <Hmac<Sha256> as Mac>::new(&block.into()),
        }
    }

    /// The token of a grant.
    pub fn of_grant(&self, grant: &Grant) -> Token {
        let mac = self.grant_mac(
            grant.zone,
            &Proof {
                key: grant.key().clone(),
                fence: grant.fence,
                session: grant.session,
                token: Token([0; 32]),
            },
        );
        Token(mac.finalize().into_bytes().into())
    }

    /// Whether `proof` was made by a server of this cluster for just this grant.
    pub fn is_right(&self, zone: ZoneId, proof: &Proof) -> bool {
        self.grant_mac(zone, proof)
            .verify_slice(&proof.token.0)
            .is_ok()
    }

    /// Whether the token that a third party shows, if it shows one, is that of the grant. Looked at when the
    /// question is answered and not before it is asked: only the state knows the first key and the session of
    /// the claim, which a third party need not know. Of a claim that has ended it must name them.
    pub fn is_token_right(&self, machine: &Machine, zone: ZoneId, verify: &Verify) -> bool {
        let Some(token) = verify.token else {
            return true;
        };
        let (key, fence) = (&verify.key, verify.fence);
        let bound_to = machine.bound_to(zone, key, fence);
        let (key, session) = bound_to.unwrap_or_else(|| (key.clone(), verify.session));
        let proof = Proof {
            key,
            fence,
            session,
            token,
        };
        self.is_right(zone, &proof)
    }

    /// The secret of a session.
    pub(super) fn of_session(&self, zone: ZoneId, session: SessionId) -> Token {
        Token(
            self.session_mac(zone, session)
                .finalize()
                .into_bytes()
                .into(),
        )
    }

    /// Whether `secret` is the one of `session`.
    pub(super) fn is_session(&self, zone: ZoneId, session: SessionId, secret: &Token) -> bool {
        self.session_mac(zone, session)
            .verify_slice(&secret.0)
            .is_ok()
    }

    fn grant_mac(&self, zone: ZoneId, proof: &Proof) -> Hmac<Sha256> {
        let mut mac = self.mac(b"tenure/grant/1");
        mac.update(&zone.get().to_be_bytes());
        mac.update(&lock_id(zone, &proof.key).0);
        // A session's id is never zero, so no grant of a session looks like one without.
        mac.update(&proof.session.map_or(0, SessionId::get).to_be_bytes());
        mac.update(&proof.fence.get().to_be_bytes());
        mac
    }

    fn session_mac(&self, zone: ZoneId, session: SessionId) -> Hmac<Sha256> {
        let mut mac = self.mac(b"tenure/session/1");
        mac.update(&zone.get().to_be_bytes());
        mac.update(&session.get().to_be_bytes());
        mac
    }

    fn mac(&self, domain: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.keyed.clone();
        mac.update(domain);
        mac
    }
}
