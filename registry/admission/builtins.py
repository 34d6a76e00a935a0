"""Which functions a portable policy may call: known to both engines, with equal answers, pure and of bounded work.

Left out on purpose: what tells time or chance or reaches out (`time.now_ns`, `rand.intn`, `uuid.rfc4122`,
`http.send`, `net.lookup_ip_addr`, `opa.runtime`, `trace`, `print`), what the engines answer differently (`upper`,
`lower`, `strings.count`, `json.marshal`, `json.match_schema`, `regex.split`, dates), what one lacks (`io.jwt`,
`crypto`, `graphql`), what can exhaust memory (`numbers.range`, `net.cidr_expand`, `bits.lsh`) and what panics
(`time.parse_duration_ns`).
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


POLICY = _words(
    """
    abs ceil floor round count sum product max min sort
    array.concat array.reverse array.slice
    object.filter object.get object.keys object.remove object.subset object.union object.union_n json.filter json.remove
    intersection union
    concat contains endswith startswith indexof replace split sprintf substring
    trim trim_left trim_prefix trim_right trim_space trim_suffix
    strings.any_prefix_match strings.any_suffix_match strings.reverse
    regex.match glob.match
    net.cidr_contains
    is_array is_boolean is_null is_number is_object is_set is_string type_name
    to_number semver.compare semver.is_valid
    base64.is_valid
    walk
    """
)
# Tests also build inputs.
TESTS = POLICY | {"json.patch"}
KEYWORDS = _words("as contains data default else every false if import in input not null package some true with")
# Names that start a builtin somewhere: a rule of that name would hide it.
RESERVED = _words(
    """
    abs all and any array assign base64 base64url bits cast_array cast_boolean cast_null cast_object cast_set
    cast_string ceil concat contains count crypto div endswith eq equal floor format_int glob graph graphql gt gte hex
    http indexof indexof_n internal intersection io is_array is_boolean is_null is_number is_object is_set is_string
    json lower lt lte max min minus mul neq net numbers object opa or plus print product providers rand re_match regex
    rego rem replace round semver set_diff sort split sprintf startswith strings substring sum time to_number trace
    trim trim_left trim_prefix trim_right trim_space trim_suffix type_name union units upper uri urlquery uuid walk yaml
    """
)
