"""The classes that Django's CHANNEL_LAYERS names, imported when a server starts: Channels does so with the first consumer."""

import logging
import sys

from .errors import ConfigurationError

logger = logging.getLogger(__name__)


def check() -> None:
    """Imports them. SettingError for a subclass of ChannelLayer that cannot work; any other error is left to Channels."""
    layers, conf = sys.modules.get("channels.layers"), sys.modules.get("django.conf")
    if layers is None or conf is None or not conf.settings.configured:
        return
    for alias, config in layers.channel_layers.configs.items():
        try:
            layers.import_string(config["BACKEND"])
        except ConfigurationError:
            raise
        except Exception as error:
            logger.debug("CHANNEL_LAYERS[%r] cannot be imported: %s", alias, error)
