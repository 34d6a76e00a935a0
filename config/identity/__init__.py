"""Sign-in of people: how django-allauth is bound to our pages, our records and our rules. Rules live in `registry`."""
