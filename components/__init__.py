"""The layers of the Anton network: what is made of the settings, a folder or a file a layer."""

from components import sdk

sdk.prepare()
