//! Shapes and refusals of the Loki, Jaeger, Tempo and weir APIs, through the router.
