"""Work that outlives the request that asked for it, and the process as well, and tells who listens.

A job is a kind, a model and arguments as JSON, in a durable store: the house's database, or Redis when
`DOMICILE_REDIS_URL` is set. Asking for the same work twice joins the job that does it, in whatever process. A job whose
process was killed goes on in the next one. Each change of its state is an event with a number that is never given
twice, so that a listener who was cut off goes on after the last one it saw. Knows nothing of what the work is.
"""

from domicile.jobs.book import Policy
from domicile.jobs.hands import Kind
from domicile.jobs.progress import Limits, Progress
from domicile.jobs.room import Jobs

__all__ = ["Jobs", "Kind", "Limits", "Policy", "Progress"]
