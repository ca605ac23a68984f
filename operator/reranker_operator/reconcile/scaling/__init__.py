"""The number of pods where load decides it: who owns it, and the operator's own scaler by seconds in the queue.

rules     windows, rates and tolerances: `spec.autoscaling.behavior` with a HorizontalPodAutoscaler's defaults. Pure.
readings  what a pod's metrics say of its queue. Pure.
decide    readings and history in, a number of pods out. Pure.
handover  who owns the Deployment's number of pods. Pure.
scaler    reads pods, decides, scales; the only one with a network and a clock.
"""
