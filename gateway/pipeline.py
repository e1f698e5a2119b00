"""The stages in order, on one screen."""

from __future__ import annotations

from gateway.core.stage import Stage
from gateway.cost import stage as cost
from gateway.geo import stage as geo
from gateway.metrics import stage as metrics
from gateway.policy import stage as policy
from gateway.rewrite import stage as rewrite
from gateway.sql import stage as sql

STAGES: tuple[Stage, ...] = (
    Stage("parse", sql.parse_stage),
    Stage("resolve", sql.resolve_stage),
    Stage("authorize", policy.authorize_stage, policy.FEATURE),
    Stage("metrics", metrics.metrics_stage, metrics.FEATURE),
    Stage("place", geo.place_stage),
    Stage("alternatives", rewrite.alternatives_stage, rewrite.FEATURE),
    Stage("govern", policy.govern_stage, policy.FEATURE),
    Stage("price", cost.price_stage, cost.FEATURE),
    Stage("route", geo.route_stage),
    Stage("emit", sql.emit_stage),
)
