"""What was found out on a machine, kept between runs and shared by its processes: see ``Database``."""

from .exchange import Merged as Merged
from .exchange import export_json as export_json
from .exchange import import_json as import_json
from .exchange import merge as merge
from .location import cache_directory as cache_directory
from .location import costs_file as costs_file
from .lock import tuning_lock as tuning_lock
from .sqlite import Database as Database
from .upkeep import BackendStatistics as BackendStatistics
from .upkeep import Statistics as Statistics
