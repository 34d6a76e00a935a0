"""How long the slowest test files take, in seconds on a quiet machine: parallel processes begin with these.

Else the one that finds a long file at the end works on it alone. The figures need not be exact, only their order;
`pytest -n 1 --durations=0 FILE` gives new ones. A folder stands for each of its files.
"""

SECONDS = {
    "tests/faults/test_kills.py": 90,
    "tests/chaos": 80,
    "tests/chaos/test_points.py": 40,
    "tests/browser/test_pages.py": 60,
    "tests/test_openapi.py": 50,
    "tests/recovery": 40,
    "tests/test_permissions.py": 40,
    "tests/races": 35,
    "tests/test_audit_coverage.py": 30,
    "tests/gateway/test_transport_mcp.py": 30,
    "tests/agents/test_sagas.py": 8,
    "tests/chaos/test_tool_faults.py": 20,
    "tests/chaos/test_pdp_faults.py": 15,
    "tests/chaos/test_clocks.py": 15,
    "tests/chaos/test_disks.py": 12,
    "tests/chaos/test_poison.py": 12,
    "tests/chaos/test_proxy.py": 2,
    "tests/pages/test_scale.py": 16,
    "tests/audit/test_under_fire.py": 15,
    "tests/pages/test_long_lists.py": 15,
    "tests/gateway/test_transport_streamable.py": 15,
    "tests/gateway/test_transport_post.py": 12,
    "tests/gateway/test_sidecars.py": 15,
    "tests/cli/test_commands.py": 14,
    "tests/test_queries.py": 14,
    "tests/browser": 14,
    "tests/policies/test_parity.py": 12,
    "tests/audit/test_publisher.py": 10,
    "tests/gateway/test_pdp.py": 10,
    "tests/registry/test_opa_bundles.py": 10,
    "tests/registry/test_admission_policy.py": 9,
    "tests/test_error_shape.py": 8,
    "tests/audit/test_mutations.py": 8,
    "tests/registry/test_registry_api.py": 8,
    "tests/audit/test_sequencer.py": 7,
    "tests/agents/test_sweeper.py": 7,
    "tests/audit/test_export.py": 6,
    "tests/gateway/test_attempts.py": 6,
    "tests/gateway/test_connect.py": 6,
    "tests/registry/test_versions.py": 6,
    "tests/registry/test_bundles.py": 6,
    "tests/test_bad_input.py": 5,
    "tests/config": 5,
}


def of(path: str) -> float:
    """Return what is known of a file: its own figure, that of its folder, or little."""
    return SECONDS.get(path, SECONDS.get(path.rpartition("/")[0], 1))
