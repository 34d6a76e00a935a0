"""What comes in over REST, read by its shape: an unknown member or another type is a mistake, and told as one."""

from collections.abc import Mapping
from typing import Any

from django.http import QueryDict
from rest_framework import serializers

from audit.refusal import Refusal


def parsed(shape: type[serializers.Serializer[Any]], data: Any) -> dict[str, Any]:
    """Return `data` as `shape` understands it.

    :param data: a JSON body, or the query of an address.
    :raises Refusal: member_unknown, or type_wrong where DRF would take one type for another.
    :raises rest_framework.exceptions.ValidationError: for the rest.
    """
    form = shape(data=data.dict() if isinstance(data, QueryDict) else data)
    if isinstance(data, Mapping):
        if unknown := sorted(data.keys() - form.fields.keys()):
            known = ", ".join(sorted(form.fields)) or "none"
            detail = f"There is no member {unknown[0]!r} here; there are {known}."
            raise Refusal("member_unknown", detail, field=unknown[0])
        for name, value in data.items():
            # DRF would take 7 for "7", and whoever sent it would never learn of their mistake.
            if isinstance(form.fields[name], serializers.CharField) and isinstance(value, int | float):
                raise Refusal("type_wrong", f"{name} is a text; put it in quotes.", field=name)
            body = not isinstance(data, QueryDict)
            if body and isinstance(form.fields[name], serializers.BooleanField) and not isinstance(value, bool):
                raise Refusal("type_wrong", f"{name} is true or false, without quotes.", field=name)
    form.is_valid(raise_exception=True)
    return dict(form.validated_data)
