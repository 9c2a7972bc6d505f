"""How a new key and certificate take the place of the old ones, so that no crash can lose either.

    pending.key, pending.csr      a new key was made; the operator is asked, with the same bytes
                                  again and again until it answers
    pending.crt                   it has answered: `finish_switch` may begin
    replaced.key, replaced.crt    the old ones: IKE_SAs still stand on them
    node.key, node.crt            the new ones
    (nothing pending)             `put_away` ends it, once charon has unloaded the old key

Each step may be repeated; which of them is next is read from the files alone. A key is not copied:
the file gets another name, so that what is overwritten in the end is all that there was.
"""

from geneveil.agent.rotation.renewal import Situation
from geneveil.agent.store import (
    CERTIFICATE,
    KEY,
    PENDING_CERTIFICATE,
    PENDING_KEY,
    PENDING_REQUEST,
    REPLACED_CERTIFICATE,
    REPLACED_KEY,
    NodeStore,
)


def read_situation(store: NodeStore) -> Situation:
    """Where the files say that the node is; TrustError if they cannot be read."""
    return Situation(
        has_pending=store.has(PENDING_CERTIFICATE),
        has_replaced=store.has(REPLACED_KEY),
    )


def finish_switch(store: NodeStore, *, is_urgent: bool) -> bool:
    """Put a certificate that has come into the place of the one in use.

    Waits while an earlier one is still being put away, unless the one in use proves nothing any
    more (`is_urgent`).

    Returns:
        Whether anything was changed.
    Raises:
        TrustError: a file cannot be read or written; to be repeated.
    """
    certificate, key = store.read(PENDING_CERTIFICATE), store.read(PENDING_KEY)
    if certificate is None:
        return False
    if key is None:  # it is in its place already: this is all that is left to do
        store.remove(PENDING_CERTIFICATE)
        return True
    old_certificate, old_key = store.read(CERTIFICATE), store.read(KEY)
    is_begun = key == old_key or old_key == store.read(REPLACED_KEY)
    if not is_begun and old_key is not None and old_certificate is not None:
        if store.has(REPLACED_KEY):
            if not is_urgent:
                return False
            store.destroy(REPLACED_KEY)
        store.write(REPLACED_CERTIFICATE, old_certificate)
        store.link(KEY, REPLACED_KEY)  # from here on it is begun
    store.link(PENDING_KEY, KEY)
    store.write(CERTIFICATE, certificate)
    store.remove(PENDING_REQUEST)
    store.remove(PENDING_KEY)
    store.remove(PENDING_CERTIFICATE)
    return True


def put_away(store: NodeStore) -> None:
    """Destroy the replaced key: nothing uses it any more."""
    store.destroy(REPLACED_KEY)
    store.remove(REPLACED_CERTIFICATE)
