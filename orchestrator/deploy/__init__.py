"""Sets up RunPod for us: `apigpu deploy runpod`. A program of its own, which the service never
imports."""
