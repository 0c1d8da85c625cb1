from .documents import ConfigurationError as ConfigurationError
from .documents import read_file as read_file
from .documents import write_file as write_file
from .hook import ConfigurationCheck as ConfigurationCheck
from .loader import ProjectConfigLoader as ProjectConfigLoader
from .presets import Presets as Presets
from .presets import save_experiment as save_experiment
