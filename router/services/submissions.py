"""SMSGate's messages: submissions of 1 to 100 recipients, each of which is routed on its own. Accepting them is `acceptance`'s; what is
special here is what may be asked for, and that one answer is given for all recipients.
"""

import base64
import binascii
import hashlib
import secrets
import string
from collections.abc import Sequence
from functools import partial

import msgspec
from msgspec.structs import replace
from ulid import ULID

from router.clock import Clock
from router.domain import lifecycle
from router.domain.account import Account, Credential
from router.domain.errors import Conflict, Invalid, NotFound, Unavailable
from router.domain.message import Message
from router.domain.numbering import Number, parse_number
from router.domain.rules import Rules
from router.domain.segments import count_segments
from router.domain.submission import (
    LONGEST_ID,
    LONGEST_RECIPIENT,
    LONGEST_TEXT,
    MOST_RECIPIENTS,
    Lifetime,
    NotUnique,
    Submission,
    View,
    count_data_parts,
    lane_of,
    lifetime,
    state_of,
    view,
)
from router.secrets import SealBroken
from router.services.acceptance import Acceptance, Draft, check_idempotency_key, check_text
from router.services.devices import Devices
from router.services.transitions import Step, Transitions
from router.store.accounts import hash_key
from router.store.messages import Stored
from router.store.redis import Batch
from router.store.store import Store
from router.store.submissions import SubmissionAdmission, Submissions as Stores
