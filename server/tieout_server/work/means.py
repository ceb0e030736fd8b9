"""What sharing the work with other processes needs."""

import msgspec

from tieout_server.clock import Clock
from tieout_server.storage.database import Database
from tieout_server.storage.notices import Notices
from tieout_server.work.homes import Homes
from tieout_server.work.replica import Replica


class Means(msgspec.Struct, frozen=True):
    """The database, this process's place, what is at home in it, and how the others are told."""

    database: Database
    clock: Clock
    replica: Replica
    homes: Homes
    notices: Notices
