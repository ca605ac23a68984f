"""The pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from drawing.canvas import Picture

_IN_A_ROW: Final = 3
_PODS: Final = 2


def apply_to_ranking() -> Picture:
    """What a manifest becomes, and where a ranking goes."""
    picture = Picture(740, 520, "From kubectl apply to a ranking")
    picture.box(20, 25, 130, 60, "kubectl apply")
    picture.box(215, 20, 170, 70, "RerankerService", "spec and status")
    picture.box(505, 20, 215, 70, "operator", "observe, plan, apply, report", kind="box")
    picture.arrow((150, 55), (213, 55))
    picture.arrow((385, 42), (503, 42))
    picture.text(445, 34, "watch", anchor="middle")
    picture.arrow((505, 70), (387, 70))
    picture.text(445, 88, "conditions, events", anchor="middle")
    picture.box(275, 165, 190, 62, "model Job", "complete? the pinned one?", kind="blue")
    picture.box(540, 165, 180, 62, "Deployment", "pod template", kind="blue")
    picture.arrow((570, 90), (570, 125), (370, 125), (370, 163))
    picture.text(380, 118, "1. applied first")
    picture.arrow((650, 90), (650, 163))
    picture.text(642, 145, "2. after its verdict", anchor="end")
    picture.arrow((465, 196), (538, 196), dashed=True)
    picture.box(275, 290, 190, 62, "model directory", "a claim, an image, a node's")
    picture.box(540, 290, 180, 62, "ranking pods", "check-model, then serve", kind="good")
    picture.arrow((370, 227), (370, 288))
    picture.text(362, 262, "reads every byte", anchor="end")
    picture.arrow((630, 227), (630, 288))
    picture.arrow((540, 321), (467, 321))
    picture.text(503, 313, "read-only", anchor="middle")
    picture.box(20, 415, 130, 60, "client")
    picture.box(275, 415, 190, 60, "Service", "port 8000", kind="blue")
    picture.arrow((150, 445), (273, 445))
    picture.text(212, 437, "POST /v1/ranking", anchor="middle")
    picture.arrow((465, 445), (630, 445), (630, 354))
    picture.text(640, 400, "ready pods")
    picture.text(640, 416, "alone")
    picture.text(
        20,
        505,
        "The operator asks for a ranking through the Service, too: what it got is the condition RankingVerified.",
    )
    return picture


def pod_rolls() -> Picture:
    """Which changes replace pods, and what becomes of the others."""
    picture = Picture(740, 520, "What makes a pod roll, and what does not")
    picture.frame(20, 40, 270, 172, "changes that replace pods")
    picture.box(32, 52, 246, 46, "pod fields of the spec", "model, image, resources ...", kind="warm")
    picture.box(32, 104, 246, 46, "a value that is read at start", "env from a Secret or ConfigMap", kind="warm")
    picture.box(32, 156, 246, 46, "a volume's content", "of spec.pod.volumes", kind="warm")
    picture.box(350, 92, 170, 66, "pod template", "hash in a label", kind="blue")
    picture.box(580, 40, 140, 66, "model Job", "looks first", kind="blue")
    picture.box(580, 146, 140, 66, "pods replaced", "by spec.rollout", kind="good")
    picture.arrow((290, 125), (348, 125))
    picture.arrow((520, 112), (550, 112), (550, 73), (578, 73))
    picture.arrow((650, 106), (650, 144))
    picture.frame(20, 262, 330, 242, "changes that replace none")
    picture.frame(410, 262, 310, 242, "what happens instead")
    rows = [
        ("replicas, autoscaling", "only the number changes"),
        ("service, ingress, networkPolicy ...", "that object is applied anew"),
        ("API keys, TLS certificate", "pods read the files again"),
        ("hub token, NGC key, pull Secret", "serves for the next download or pull"),
        ("another release of the operator", "the recorded template stays"),
        ("somebody edits the Deployment", "it is put back"),
    ]
    for number, (change, instead) in enumerate(rows):
        y = 272 + number * 38
        picture.box(32, y, 306, 32, change)
        picture.box(422, y, 286, 32, instead, kind="good")
        picture.arrow((338, y + 16), (420, y + 16))
    return picture


def readiness() -> Picture:
    """What has to be so before a pod, and a service, are ready."""
    picture = Picture(740, 440, "Readiness of a pod and of a service")
    picture.frame(20, 40, 700, 140, "a pod, from its start")
    steps = [
        ("check-model", "sizes, headers", "thing"),
        ("port opens", "live 200, ready 503", "warm"),
        ("weights loaded", "ready 503: loading", "warm"),
        ("warm-up ranked", "ready 200", "good"),
    ]
    for number, (name, about, kind) in enumerate(steps):
        x = 34 + number * 172
        picture.box(x, 56, 156, 58, name, about, kind=kind)
        if number:
            picture.arrow((x - 16, 85), (x - 2, 85))
    picture.text(34, 142, "The port opens first: a slow load is no hang. Only a pod that has ranked gets requests.")
    picture.text(34, 162, "SIGTERM: ready answers 503 at once, running rankings are finished.")
    picture.frame(20, 222, 700, 200, "a service: each condition is a fact that can be looked up")
    conditions = [
        ("Accepted", "spec and children taken"),
        ("ReferencesResolved", "what it names exists"),
        ("ModelVerified", "the Job's verdict"),
        ("Available", "a pod of it is ready"),
        ("RankingVerified", "a real ranking came back"),
    ]
    for number, (name, about) in enumerate(conditions):
        x, y = (34 + number * 228, 238) if number < _IN_A_ROW else (148 + (number - _IN_A_ROW) * 228, 318)
        picture.box(x, y, 206, 58, name, about, kind="blue")
    for start, end, y in ((240, 260, 267), (468, 488, 267), (354, 374, 347)):
        picture.arrow((start, y), (end, y))
    picture.arrow((593, 296), (593, 306), (251, 306), (251, 316))
    picture.box(608, 318, 100, 58, "Ready", kind="good")
    picture.arrow((582, 347), (606, 347))
    picture.text(
        34, 405, "Ready speaks of the present spec: the old pods of a changed one serve on, and it is not Ready."
    )
    return picture


def scarce_gpus() -> Picture:
    """GPUs over time, for each strategy."""
    picture = Picture(740, 468, "Rollouts where GPUs are scarce")
    strips = [
        ("Surge, with a spare GPU: a new pod loads beside the old ones", 3, _SURGE),
        ("Replace: no spare GPU needed, one pod less serves meanwhile", 2, _REPLACE),
        ("Auto, without a spare GPU: waits surgeTimeoutSeconds, then goes on as Replace", 2, _AUTO),
    ]
    y = 36.0
    for words, lanes, bars in strips:
        picture.text(20, y, words, "")
        for lane in range(lanes):
            picture.text(20, y + 32 + lane * 34, f"GPU {lane + 1}" + (" (spare)" if lane == _PODS else ""))
        for lane, start, end, name, kind in bars:
            picture.box(100 + start, y + 14 + lane * 34, end - start, 28, name, kind=kind)
        y += 48 + lanes * 34
    picture.arrow((100, 408), (720, 408))
    picture.text(720, 426, "time", anchor="end")
    for number, (kind, words) in enumerate(
        [("thing", "old pod serves"), ("warm", "new pod loads"), ("good", "new pod serves"), ("bad", "nobody uses it")]
    ):
        picture.box(100 + number * 155, 432, 18, 18, kind=kind)
        picture.text(124 + number * 155, 446, words)
    return picture


_OLD, _LOADS, _NEW = "old", "loads", "new"
_SURGE: Final = [
    (0, 0, 240, _OLD, "thing"),
    (0, 240, 400, _LOADS, "warm"),
    (0, 400, 620, _NEW, "good"),
    (1, 0, 400, _OLD, "thing"),
    (1, 400, 620, "free again", "bad"),
    (2, 80, 240, _LOADS, "warm"),
    (2, 240, 620, _NEW, "good"),
]
_REPLACE: Final = [
    (0, 0, 80, _OLD, "thing"),
    (0, 80, 240, _LOADS, "warm"),
    (0, 240, 620, _NEW, "good"),
    (1, 0, 240, _OLD, "thing"),
    (1, 240, 400, _LOADS, "warm"),
    (1, 400, 620, _NEW, "good"),
]
_AUTO: Final = [
    (0, 0, 230, "old, and none fits", "thing"),
    (0, 230, 380, _LOADS, "warm"),
    (0, 380, 620, _NEW, "good"),
    (1, 0, 380, _OLD, "thing"),
    (1, 380, 530, _LOADS, "warm"),
    (1, 530, 620, _NEW, "good"),
]


def one_queue() -> Picture:
    """Rows of several requests in packed batches."""
    picture = Picture(740, 420, "One queue, packed batches")
    requests = [("A: 9 passages, came first", "blue", 9), ("B: 2 passages", "warm", 2), ("C: 3 passages", "good", 3)]
    picture.text(20, 34, "requests", "head")
    y = 50
    for words, kind, count in requests:
        picture.text(20, y + 8, words)
        for number in range(count):
            picture.box(20 + number * 21, y + 16, 18, 24, kind=kind)
        y += 66
    picture.box(262, 92, 180, 92, "queue", "least left goes first,", "a quarter to the oldest", kind="box")
    picture.arrow((218, 138), (260, 138))
    picture.text(500, 34, "batches, without padding", "head")
    batches = [
        [("warm", 46), ("warm", 30), ("good", 50), ("blue", 44)],
        [("good", 34), ("good", 52), ("blue", 60), ("blue", 28)],
    ]
    batches += [[("blue", 38), ("blue", 56), ("blue", 42), ("blue", 36)], [("blue", 64), ("blue", 40)]]
    for number, rows in enumerate(batches):
        top, x = 50 + number * 46, 500.0
        picture.box(496, top, 196, 34, kind="thing")
        for kind, width in rows:
            picture.box(x, top + 4, width, 26, kind=kind)
            x += width + 3
        picture.arrow((444, 138), (494, top + 17))
    picture.text(500, 250, "up to RERANKER_BATCH_TOKENS;")
    picture.text(500, 268, "the last ones are smaller")
    for number in range(3):
        picture.box(
            496 + number * 68, 300, 60, 46, *(["worker", "1"], ["worker", "2"], ["worker", "n"])[number], kind="box"
        )
        picture.arrow((526 + number * 68, 276), (526 + number * 68, 298))
    picture.box(262, 300, 180, 46, "scores by request")
    picture.arrow((494, 323), (444, 323))
    picture.box(20, 300, 190, 46, "answer", "as soon as its rows are done", kind="thing")
    picture.arrow((262, 323), (212, 323))
    picture.text(
        20,
        380,
        "B is in the very next batch though A came first. A goes on meanwhile: a quarter of all tokens is its own.",
    )
    picture.text(
        20,
        400,
        "A request that could not be answered in time is refused at once (503); who hangs up leaves at once.",
    )
    return picture


PICTURES: Final[dict[str, Callable[[], Picture]]] = {
    "apply-to-ranking": apply_to_ranking,
    "what-makes-a-pod-roll": pod_rolls,
    "readiness": readiness,
    "rollouts-with-scarce-gpus": scarce_gpus,
    "one-queue-packed-batches": one_queue,
}
