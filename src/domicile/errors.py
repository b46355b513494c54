"""Everything that can go wrong, as a tree.

An error knows its code, its HTTP status, the exit status of the command line and the facts of the case
(numbers, names). It knows no language: the sentence and the hint (a command to type) are in `locale/`, under
`error.<code>` and `hint.<code>`, and are chosen at the edge, for whoever reads.

    DomicileError
    ├── BadInput                  400  what was asked cannot be read
    │   ├── BadJSON  BadField  BadName  MissingField
    │   ├── ContextTooLong             the prompt does not fit the context (both numbers)
    │   ├── ModelCannot                this model has no tools, no images ... (reason)
    │   ├── BadImage                   an image that is none, too large, or not in the request itself (reason)
    │   ├── WrongDigest                what came has another sha256, or that is none
    │   ├── GrammarTooLarge            a grammar or schema beyond the bounds that keep the engine safe
    │   ├── AudioRefused          415  a file that cannot be heard: no sound, damaged, too long (reason)
    │   ├── AttachmentRefused     415  a file that no model here could be given (reason)
    │   └── BodyTooLarge          413
    ├── NotFound                  404
    │   ├── NoSpeechModel              sound came, and no model here hears
    │   ├── ModelNotFound  JobNotFound  RouteNotFound  NoLog  CardNotFound  PartialNotFound
    │   ├── TargetNotFound  ResponseNotFound  BlobNotFound  AccountNotFound  KeyNotFound
    │   ├── ChatNotFound  MessageNotFound  AttachmentNotFound  FolderNotFound  PresetNotFound
    │   ├── RepositoryNotFound  RevisionNotFound  FileNotOnHub  NoSuchVariant  NothingToRun
    │   ├── ExtraNotFound              no extra of that name
    │   ├── NoPictureModel             no model that draws lives here
    │   ├── PictureNotFound  DrawingNotFound
    │   ├── NotAdoptable  NotInOllama  NoSuchAlias
    │   ├── CustomNotFound             no custom model of that id (standard ones are not removed by this door)
    │   └── ModelFileMissing      409  the library knows it, the disk does not
    ├── Refused                   403  the guard said no
    │   ├── HostRefused  OriginRefused
    │   ├── OllamaElsewhere            the Ollama that is named is not on this machine
    │   ├── NameTaken  Pinned     409
    │   ├── PlaceRefused               an address of this machine or of a private network, or without https
    │   ├── OutsideRoots               a folder that nobody has allowed downloads to go to
    │   ├── NoConsent                  a target that nobody has consented to (yet, or for where it is now)
    │   ├── NoTarget                   an answer from elsewhere was asked for, and nobody elsewhere may give it
    │   ├── KeyRequired           401
    │   ├── SignInRefused         401  no account of that name with that password
    │   ├── CodeRefused           403  not the code that `domicile serve` printed, or no longer
    │   ├── NotYours              403  only an administrator may
    │   ├── LastAdministrator     409  a house with accounts keeps one who may change them
    │   ├── AccountTaken          409
    │   ├── SetElsewhere          409  a setting that the environment or the command line gives
    │   └── TooManyAttempts       429  passwords or codes tried too often (retry_after)
    ├── SourceTrouble             502  the place models come from
    │   ├── HubUnreachable  HubAnswer
    │   ├── HubBusy               503
    │   ├── Offline               503  the door is shut: nothing was sent
    │   ├── TargetSilent               a target that does not answer, or breaks off
    │   ├── TargetSaid                 a target that refuses, or answers what cannot be used
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
    │   ├── AttachmentsFull            the files beside conversations have no more room
    │   └── HomeNotWritable       500
    ├── EngineTrouble             500
    │   ├── EngineMissing         501
    │   ├── EngineUnfit           501  a llama-server that is not there, is none, or does not know what is asked
    │   ├── BuildFailed           502
    │   ├── InstallFailed         502  an extra could not be installed (reason)
    │   ├── NotSupported          501  a route of another's dialect that is not answered here
    │   ├── BadModelFile          422
    │   ├── OutOfMemory           503
    │   ├── StillDownloading      503
    │   ├── NobodyAnswers         503  not here, and none of the targets either
    │   ├── EngineDied            502
    │   ├── FirstTokenLate        504
    │   ├── EngineUnwell          503  it died too often: it rests before it is tried again
    │   └── WakeTimeout           504
    └── HouseTrouble              500
        ├── PortTaken  AlreadyOpen  HouseSilent  Bug
        ├── NewerDatabase              the database was made by a later Domicile: left alone
        ├── QueueUnreachable      503  the Redis that holds the jobs
        ├── MethodRefused         405
        ├── SlowRequest           408
        ├── StillBusy             409
        ├── AnswerUnderWay        409  a message that is being written cannot be changed or gone on from
        ├── QueueFull             429  too many wait already
        ├── WaitedTooLong         503  no turn came in time
        ├── AnswerTooLong         504  an answer went on for longer than any may
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


class BadImage(BadInput): ...


class WrongDigest(BadInput): ...


class AudioRefused(BadInput):
    status = 415


class AttachmentRefused(BadInput):
    status = 415


class BodyTooLarge(BadInput):
    status = 413


class NotFound(DomicileError):
    status = 404
    exit_code = 3


class NoSpeechModel(NotFound): ...


class ModelNotFound(NotFound): ...


class JobNotFound(NotFound): ...


class TargetNotFound(NotFound): ...


class RouteNotFound(NotFound): ...


class ResponseNotFound(NotFound): ...


class BlobNotFound(NotFound): ...


class ChatNotFound(NotFound): ...


class MessageNotFound(NotFound): ...


class AttachmentNotFound(NotFound): ...


class FolderNotFound(NotFound): ...


class PresetNotFound(NotFound): ...


class NoLog(NotFound): ...


class RepositoryNotFound(NotFound): ...


class RevisionNotFound(NotFound): ...


class FileNotOnHub(NotFound): ...


class NoSuchVariant(NotFound): ...


class NothingToRun(NotFound): ...


class CustomNotFound(NotFound): ...


class CardNotFound(NotFound): ...


class NoPictureModel(NotFound): ...


class PictureNotFound(NotFound): ...


class DrawingNotFound(NotFound): ...


class ExtraNotFound(NotFound): ...


class NotAdoptable(NotFound): ...


class NotInOllama(NotFound): ...


class NoSuchAlias(NotFound): ...


class PartialNotFound(NotFound): ...


class AccountNotFound(NotFound): ...


class KeyNotFound(NotFound): ...


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


class PlaceRefused(Refused): ...


class OutsideRoots(Refused): ...


class NoConsent(Refused): ...


class NoTarget(Refused): ...


class KeyRequired(Refused):
    status = 401


class SignInRefused(Refused):
    status = 401


class CodeRefused(Refused): ...


class NotYours(Refused): ...


class LastAdministrator(Refused):
    status = 409


class AccountTaken(Refused):
    status = 409


class SetElsewhere(Refused):
    status = 409


class TooManyAttempts(Refused):
    status = 429


class SourceTrouble(DomicileError):
    status = 502
    exit_code = 5


class HubUnreachable(SourceTrouble):
    @classmethod
    def because(cls, host: str, trouble: Exception) -> HubUnreachable:
        """Of what a client of HTTP raised: the cause is said in words, where it is one that people meet."""
        problem = str(trouble) or type(trouble).__name__
        cause: BaseException | None = trouble
        while cause is not None:
            for kind in type(cause).__mro__:
                if kind.__name__ in _UNREACHED:
                    return cls(host=host, problem=problem, reason=_UNREACHED[kind.__name__])
            several = cause.exceptions if isinstance(cause, BaseExceptionGroup) else ()
            cause = several[0] if several else cause.__cause__ or cause.__context__
        return cls(host=host, problem=problem)


_UNREACHED = {
    "gaierror": "name",
    "SSLError": "certificate",
    "ConnectionRefusedError": "refused",
    "TimeoutError": "slow",
    "TimeoutException": "slow",
}
"""Why, by the name of what was raised: importing the modules of all of them would cost every command a while."""


class HubAnswer(SourceTrouble): ...


class HubBusy(SourceTrouble):
    status = 503


class Offline(SourceTrouble):
    status = 503


class TargetSilent(SourceTrouble): ...


class TargetSaid(SourceTrouble): ...


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


class AttachmentsFull(DiskTrouble): ...


class HomeNotWritable(DiskTrouble):
    status = 500


class EngineTrouble(DomicileError):
    exit_code = 7


class EngineMissing(EngineTrouble):
    status = 501


class EngineUnfit(EngineTrouble):
    """A `llama-server` that cannot be used as asked: not there, something else, or too old for a flag."""

    status = 501


class BuildFailed(EngineTrouble):
    status = 502


class InstallFailed(EngineTrouble):
    status = 502


class NotSupported(EngineTrouble):
    status = 501


class BadModelFile(EngineTrouble):
    status = 422


class OutOfMemory(EngineTrouble):
    status = 503


class StillDownloading(EngineTrouble):
    status = 503


class NobodyAnswers(EngineTrouble):
    status = 503


class EngineDied(EngineTrouble):
    status = 502


class FirstTokenLate(EngineTrouble):
    status = 504


class EngineUnwell(EngineTrouble):
    status = 503


class WakeTimeout(EngineTrouble):
    status = 504


class HouseTrouble(DomicileError):
    exit_code = 8


class PortTaken(HouseTrouble): ...


class AlreadyOpen(HouseTrouble): ...


class HouseSilent(HouseTrouble): ...


class Bug(HouseTrouble): ...


class NewerDatabase(HouseTrouble): ...


class QueueUnreachable(HouseTrouble):
    status = 503


class MethodRefused(HouseTrouble):
    status = 405


class SlowRequest(HouseTrouble):
    status = 408


class StillBusy(HouseTrouble):
    status = 409


class AnswerUnderWay(HouseTrouble):
    status = 409


class QueueFull(HouseTrouble):
    status = 429


class WaitedTooLong(HouseTrouble):
    status = 503


class AnswerTooLong(HouseTrouble):
    status = 504


class ShuttingDown(HouseTrouble):
    status = 503
