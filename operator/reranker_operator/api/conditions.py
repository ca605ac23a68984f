"""Condition types and reasons: each names facts that a person can check by hand with kubectl."""

from dataclasses import dataclass
from enum import StrEnum


class ConditionType(StrEnum):
    """What `status.conditions` says, in the order in which it is decided."""

    ACCEPTED = "Accepted"
    """The spec is valid beyond what the schema can say, and the server accepted every child."""
    REFERENCES_RESOLVED = "ReferencesResolved"
    """Every Secret, key, ConfigMap, claim, class and ServiceAccount it names exists, as far as one may look."""
    MODEL_VERIFIED = "ModelVerified"
    """The model Job found this model complete, safetensors only, of a known architecture and of the pinned digest."""
    AVAILABLE = "Available"
    """The Deployment has rolled out this template, and a pod made from it is ready (after a warm-up ranking)."""
    RANKING_VERIFIED = "RankingVerified"
    """A real ranking through the Service came back right from this template; Unknown where the operator cannot ask."""
    PROGRESSING = "Progressing"
    """A change is under way; the reason and message say what it waits for."""
    STALLED = "Stalled"
    """It will not go on by itself (kstatus's word); the message says what to change."""
    READY = "Ready"
    """Accepted, Available with every pod updated; ReferencesResolved, ModelVerified, RankingVerified not False."""


class Reason(StrEnum):
    """Why a condition has its status."""

    ACCEPTED = "Accepted"
    """The operator and the server take the spec as it is."""
    INVALID = "Invalid"
    """The stored resource does not fit this operator's schema (written by another version, or before an upgrade)."""
    NEWER_VERSION = "NewerVersion"
    """The stored resource has fields or words that this operator does not know: a newer version's."""
    HOST_PATH_NOT_ALLOWED = "HostPathNotAllowed"
    """A hostPath source outside the prefixes that the operator was started with."""
    CLAIM_NOT_SHARED = "ClaimNotShared"
    """A claim that a single pod can use is to be mounted by several."""
    CHILD_REFUSED = "ChildRefused"
    """The API server refused an object that this spec asks for."""

    SERVER_FAILING = "ServerFailing"
    """The API server, or a webhook behind it, fails; the operator goes on trying."""

    RESOLVED = "Resolved"
    """Everything that the spec names was found (or could not be looked at: the message lists it)."""
    NOT_FOUND = "NotFound"
    """Something that the spec names is missing."""

    KIND_NOT_SERVED = "KindNotServed"
    """The spec asks for an object of a kind that the cluster has no CustomResourceDefinition of; all else goes on."""

    VERIFIED = "Verified"
    """The model Job succeeded for exactly this model."""
    VERIFYING = "Verifying"
    """The model Job has not finished."""
    MODEL_REFUSED = "ModelRefused"
    """The model Job found a reason not to serve this model."""
    DIGEST_MISMATCH = "DigestMismatch"
    """The model is not the one that `spec.model.digest` pins."""
    VERIFICATION_FAILED = "VerificationFailed"
    """The model Job broke without reaching a verdict."""
    NOT_APPLICABLE = "NotApplicable"
    """NVIDIA's image downloads its model by itself: there is nothing that could be verified."""

    AVAILABLE = "MinimumReplicasReady"
    """The Deployment's rollout of this template completed and a pod of it is ready."""
    NOT_ROLLED_OUT = "NotRolledOut"
    """The Deployment does not have this template yet: older pods, if any, go on serving."""
    UNAVAILABLE = "NoReadyReplicas"
    """No pod of this template is ready."""
    PAUSED = "Paused"
    """`spec.replicas` is 0."""

    RANKED = "Ranked"
    """A ranking through the Service came back right."""
    RANKING_WRONG = "RankingWrong"
    """A ranking through the Service came back wrong: an error, or what is no ranking."""
    RANKING_PENDING = "RankingPending"
    """No pod of this template has been asked yet."""
    UNREACHABLE = "Unreachable"
    """The operator does not reach the Service: a policy, a mesh, or no route from where it runs."""
    CERTIFICATE_EXPIRES = "CertificateExpires"
    """A ranking came back right, and the certificate that is served will soon be out of date."""
    CERTIFICATE_PENDING = "CertificatePending"
    """Pods do not show the Secret's certificate yet: the kubelet brings a renewed one within about a minute."""
    CERTIFICATE_EXPIRED = "CertificateExpired"
    """The certificate that is served is out of date: clients refuse it."""
    NO_KEY = "NoKey"
    """The operator has no key that the service takes."""
    OVERLOADED = "Overloaded"
    """The service has more to do than it can, and did not rank for the operator."""

    COMPLETE = "Complete"
    """Nothing is under way."""
    HELD = "Held"
    """Nothing is under way, because something must be put right first."""
    WAITING_FOR_DEPLOYMENT = "WaitingForDeployment"
    """The Deployment controller has not taken up the change."""
    UNSCHEDULABLE = "Unschedulable"
    """No node can take a pod: GPUs, CPU, memory, volumes or placement."""
    IMAGE_PULL = "ImagePull"
    """The image cannot be pulled."""
    CONTAINER_CONFIG = "ContainerConfig"
    """The container cannot be created: a key it reads or a volume is missing."""
    POD_CREATION_REFUSED = "PodCreationRefused"
    """The server refuses the pods: quota, Pod Security or a webhook."""
    CRASHING = "Crashing"
    """A container ends instead of serving."""
    DOWNLOADING = "Downloading"
    """The model Job downloads the model."""
    WARMING_UP = "WarmingUp"
    """Pods run, and have not yet scored their warm-up ranking."""
    STARTING = "Starting"
    """Pods are being created."""

    MODEL_CHANGED = "ModelCheckFailed"
    """The check of the model in the pod failed: what the pod sees is not what the model Job saw."""
    PROBES_FAILING = "ProbesFailing"
    """A container was ended because its probes failed."""

    ROLLED_BACK = "RolledBack"
    """The rollout of this spec failed, and the last template that was Ready serves again."""
    DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    """The rollout made no progress for the Deployment's deadline."""
    NOT_STALLED = "NotStalled"
    """Nothing stands in the way for good."""

    READY = "Ready"
    """Every fact that Ready stands for holds."""


class EventReason(StrEnum):
    """What the operator says in events beside the conditions, whose changes are events under the condition's reason."""

    MAKING_ROOM = "MakingRoom"
    """With the rollout strategy Auto, a new pod has fitted no node for surgeTimeoutSeconds: an old one goes first."""
    REPAIRED = "Repaired"
    """Somebody else had changed or deleted what the operator made, and it was put back; the message names what."""
    SCALED = "Scaled"
    """With targetQueueSeconds, the number of pods was changed; the message has the wait that was seen."""
    QUEUE_UNREADABLE = "QueueUnreadable"
    """With targetQueueSeconds, the queue of a pod cannot be read for a minute; said again every ten minutes."""

    @property
    def is_warning(self) -> bool:
        """Whether somebody should look."""
        return self is EventReason.QUEUE_UNREADABLE


class Status(StrEnum):
    """The three values of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True)
class Condition:
    """One condition as decided from facts; times are added when it is written."""

    type: ConditionType
    status: Status
    reason: Reason
    message: str
