"""The Kubernetes operator that turns a RerankerService into ranking pods."""
