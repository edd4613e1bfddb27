"""Channels: publish a message to every subscriber, over event streams or WebSockets."""

from .broker import Broker
from .channel import Channel, Channels
from .memory import MemoryBroker
from .message import Gap, Message
from .subscription import Subscription

__all__ = ["Broker", "Channel", "Channels", "Gap", "MemoryBroker", "Message", "Subscription"]
