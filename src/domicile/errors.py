"""Everything that can go wrong, as a tree.

An error knows its code, its HTTP status, the exit status of the command line and the facts of the case
(numbers, names). It knows no language: the sentence and the hint (a command to type) are in `locale/`, under
`error.<code>` and `hint.<code>`, and are chosen at the edge, for whoever reads.

    DomicileError
    ├── BadInput                  400  what was asked cannot be read
    │   ├── BadJSON  BadField  BadName  MissingField
    │   ├── ContextTooLong             the prompt does not fit the context (both numbers)
    │   ├── ModelCannot                this model has no tools, no images ... (reason)
    │   ├── WrongDigest                what came has another sha256, or that is none
    │   ├── GrammarTooLarge            a grammar or schema beyond the bounds that keep the engine safe
    │   └── BodyTooLarge          413
    ├── NotFound                  404
    │   ├── ModelNotFound  JobNotFound  RouteNotFound  NoLog  CardNotFound
    │   ├── ResponseNotFound  BlobNotFound
    │   ├── RepositoryNotFound  RevisionNotFound  FileNotOnHub  NoSuchVariant  NothingToRun
    │   ├── NotAdoptable  NotInOllama  NoSuchAlias
    │   └── ModelFileMissing      409  the library knows it, the disk does not
    ├── Refused                   403  the guard said no
    │   ├── HostRefused  OriginRefused
    │   ├── OllamaElsewhere            the Ollama that is named is not on this machine
    │   ├── NameTaken  Pinned     409
    │   └── KeyRequired           401
    ├── SourceTrouble             502  the place models come from
    │   ├── HubUnreachable  HubAnswer
    │   ├── HubBusy               503
    │   ├── TokenRefused          401
    │   ├── Gated                 403
    │   ├── OllamaSilent  OllamaSaid   a running Ollama
    │   ├── RangeRefused               a part was asked for, something else came
    │   ├── RedirectRefused            the way to the bytes leads where we do not go
    │   ├── DownloadPaused        503  the source asks to wait longer than we do: goes on later (retry_after_s)
    │   └── CorruptDownload            what came is not what was announced; nothing was kept
    ├── FormatTrouble             422  what a model's files say of themselves cannot be used
    │   ├── Malformed                  a header that lies, contradicts itself or is cut (file, problem)
    │   ├── UnknownFormat              no reader knows these files
    │   ├── NotExportable              the other tool cannot read this format
    │   └── RunsCode                   a format that can run a program when it is opened: never opened
    ├── DiskTrouble               507
    │   ├── NoRoom
    │   └── HomeNotWritable       500
    ├── EngineTrouble             500
    │   ├── EngineMissing         501
    │   ├── NotSupported          501  a route of another's dialect that is not answered here
    │   ├── BadModelFile          422
    │   ├── OutOfMemory           503
    │   ├── EngineDied            502
    │   └── WakeTimeout           504
    └── HouseTrouble              500
        ├── PortTaken  AlreadyOpen  HouseSilent  Bug
        ├── MethodRefused         405
        ├── SlowRequest           408
        ├── StillBusy             409
        └── ShuttingDown          503
"""

from __future__ import annotations

from typing import ClassVar


class DomicileError(Exception):
    """The root. `facts` fill the placeholders of the sentence."""

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, **facts: object) -> None:
        self.facts = facts
        told = ", ".join(f"{key}={value!r}" for key, value in facts.items())
        super().__init__(f"{self.code}({told})")

    @property
    def code(self) -> str:
        """snake_case of the class name: the key of its words, and what clients may test."""
        name = type(self).__name__
        return "".join(
            f"_{c.lower()}" if c.isupper() and i and not name[i - 1].isupper() else c.lower()
            for i, c in enumerate(name)
        )


def of_code(code: str, **facts: object) -> DomicileError | None:
    """The error of a code, with its facts: for one that was kept, and is now shown in another language."""
    below = DomicileError.__subclasses__()
    while below:
        kind = below.pop()
        below += kind.__subclasses__()
        error = kind(**facts)
        if error.code == code:
            return error
    return None


class BadInput(DomicileError):
    status = 400
    exit_code = 2


class BadJSON(BadInput): ...


class BadField(BadInput): ...


class MissingField(BadInput): ...


class BadName(BadInput): ...


class ContextTooLong(BadInput): ...


class GrammarTooLarge(BadInput): ...


class ModelCannot(BadInput): ...


class WrongDigest(BadInput): ...


class BodyTooLarge(BadInput):
    status = 413


class NotFound(DomicileError):
    status = 404
    exit_code = 3


class ModelNotFound(NotFound): ...


class JobNotFound(NotFound): ...


class RouteNotFound(NotFound): ...


class ResponseNotFound(NotFound): ...


class BlobNotFound(NotFound): ...


class NoLog(NotFound): ...


class RepositoryNotFound(NotFound): ...


class RevisionNotFound(NotFound): ...


class FileNotOnHub(NotFound): ...


class NoSuchVariant(NotFound): ...


class NothingToRun(NotFound): ...


class CardNotFound(NotFound): ...


class NotAdoptable(NotFound): ...


class NotInOllama(NotFound): ...


class NoSuchAlias(NotFound): ...


class ModelFileMissing(NotFound):
    status = 409


class Refused(DomicileError):
    status = 403
    exit_code = 4


class HostRefused(Refused): ...


class OriginRefused(Refused): ...


class OllamaElsewhere(Refused): ...


class NameTaken(Refused):
    status = 409


class Pinned(Refused):
    status = 409


class KeyRequired(Refused):
    status = 401


class SourceTrouble(DomicileError):
    status = 502
    exit_code = 5


class HubUnreachable(SourceTrouble): ...


class HubAnswer(SourceTrouble): ...


class HubBusy(SourceTrouble):
    status = 503


class TokenRefused(SourceTrouble):
    status = 401


class Gated(SourceTrouble):
    status = 403


class OllamaSilent(SourceTrouble): ...


class OllamaSaid(SourceTrouble): ...


class RangeRefused(SourceTrouble): ...


class RedirectRefused(SourceTrouble): ...


class DownloadPaused(SourceTrouble):
    status = 503


class CorruptDownload(SourceTrouble): ...


class FormatTrouble(DomicileError):
    status = 422
    exit_code = 9


class Malformed(FormatTrouble): ...


class UnknownFormat(FormatTrouble): ...


class RunsCode(FormatTrouble): ...


class NotExportable(FormatTrouble): ...


class DiskTrouble(DomicileError):
    status = 507
    exit_code = 6


class NoRoom(DiskTrouble): ...


class HomeNotWritable(DiskTrouble):
    status = 500


class EngineTrouble(DomicileError):
    exit_code = 7


class EngineMissing(EngineTrouble):
    status = 501


class NotSupported(EngineTrouble):
    status = 501


class BadModelFile(EngineTrouble):
    status = 422


class OutOfMemory(EngineTrouble):
    status = 503


class EngineDied(EngineTrouble):
    status = 502


class WakeTimeout(EngineTrouble):
    status = 504


class HouseTrouble(DomicileError):
    exit_code = 8


class PortTaken(HouseTrouble): ...


class AlreadyOpen(HouseTrouble): ...


class HouseSilent(HouseTrouble): ...


class Bug(HouseTrouble): ...


class MethodRefused(HouseTrouble):
    status = 405


class SlowRequest(HouseTrouble):
    status = 408


class StillBusy(HouseTrouble):
    status = 409


class ShuttingDown(HouseTrouble):
    status = 503
