"""Who is here: persons, workspaces, memberships, grants; and the environments that grants may name."""

from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from registry.models.row import Row, history


class Role(models.TextChoices):
    """What a grant allows. Each is given by itself: no role contains another, and no flag stands above them."""

    AUTHOR = "author"
    REVIEWER = "reviewer"
    SECURITY = "security"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMIN = "admin"
    BREAK_GLASS = "break_glass"


class PersonManager(BaseUserManager["Person"]):
    """Makes persons with a hashed password, or with one that nobody can use."""

    def create_user(self, username: str, email: str = "", password: str | None = None, **fields: Any) -> "Person":
        """Create a person. What they may do are grants in a workspace, never fields."""
        person = self.model(username=username, email=self.normalize_email(email), **fields)
        person.set_password(password)
        person.save(using=self._db)
        return person

    def create_superuser(self, username: str, email: str = "", password: str | None = None, **fields: Any) -> "Person":
        """Create a person as Django's own commands do; neither flag grants anything."""
        return self.create_user(username, email, password, **{"is_staff": True, "is_superuser": True, **fields})


class Person(Row, AbstractBaseUser):
    """A human who can sign in. `is_staff` and `is_superuser` are Django's; they grant nothing."""

    username = models.CharField(max_length=150, unique=True)
    email = models.EmailField(blank=True, default="")
    name = models.CharField(max_length=200, blank=True, default="")
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    is_superuser = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[PersonManager] = PersonManager()
    history = history(without=("password", "last_login"))

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["email"]

    class Meta:
        constraints: ClassVar = [
            # Commit identities are mapped to persons by address: two persons with one address would be a way around.
            models.UniqueConstraint(Lower("email"), name="person_email_unique", condition=~Q(email="")),
        ]

    def __str__(self) -> str:
        return self.username

    @property
    def actor(self) -> str:
        """The name of this person in the trail."""
        return f"person:{self.pk}"

    def get_full_name(self) -> str:
        """Return the name to show."""
        return self.name or self.username

    def get_short_name(self) -> str:
        """Return the name to show where room is short."""
        return self.username

    def has_perm(self, permission: str, row: object = None) -> bool:
        """Nobody holds a permission of Django's: what a person may do are grants in a workspace."""
        return False

    def has_perms(self, permissions: list[str], row: object = None) -> bool:
        """Say whether each of `permissions` is held."""
        return all(self.has_perm(permission, row) for permission in permissions)

    def has_module_perms(self, app_label: str) -> bool:
        """Nobody holds a permission of Django's."""
        return False


class Workspace(Row):
    """A tenant: its people, artifacts and its own log."""

    slug = models.SlugField(max_length=63, unique=True)
    name = models.CharField(max_length=200)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.slug


class Environment(Row):
    """Where releases are live. In a protected one, grants need a second admin and serve no older proposal."""

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="environments")
    name = models.SlugField(max_length=63)
    protected = models.BooleanField(default=False)
    bundle_revision = models.CharField(max_length=100, blank=True, default="")
    created_at = models.DateTimeField()

    history = history()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "name"], name="environment_name_unique"),
        ]

    def __str__(self) -> str:
        return self.name


class Membership(Row):
    """A person in a workspace. An inactive one keeps its grants and none of them counts."""

    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="memberships")
    person = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="memberships")
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField()

    history = history()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workspace", "person"], name="membership_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.person_id} in {self.workspace_id}"


class Grant(Row):
    """One role of a member, everywhere (environment null) or in one environment.

    `confirmed_at` is when a second admin agreed (or the workspace was founded): before, the grant counts for nothing
    in a protected environment. The database's clock sets `at` and `confirmed_at`.
    """

    membership = models.ForeignKey(Membership, on_delete=models.PROTECT, related_name="grants")
    role = models.CharField(max_length=20, choices=Role.choices)
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, null=True, related_name="grants")
    granted_by = models.ForeignKey(Person, on_delete=models.PROTECT, null=True, related_name="+")
    at = models.DateTimeField()
    confirmed_by = models.ForeignKey(Person, on_delete=models.PROTECT, null=True, related_name="+")
    confirmed_at = models.DateTimeField(null=True)
    revoked_by = models.ForeignKey(Person, on_delete=models.PROTECT, null=True, related_name="+")
    revoked_at = models.DateTimeField(null=True)

    history = history()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["membership", "role", "environment"],
                name="grant_unique",
                condition=Q(revoked_at=None),
                nulls_distinct=False,
            ),
            models.CheckConstraint(name="grant_role", condition=Q(role__in=Role.values)),
            models.CheckConstraint(
                name="grant_confirmed_by_another",
                condition=Q(confirmed_by=None) | Q(granted_by=None) | ~Q(confirmed_by=models.F("granted_by")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role} of {self.membership_id}"
