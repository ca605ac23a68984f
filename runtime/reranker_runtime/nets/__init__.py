"""The networks on packed rows: the half of the models that needs torch. Nothing here knows of queues or HTTP."""
