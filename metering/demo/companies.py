"""The demo's companies, created by the actions behind an admin's clicks, and so in the audit."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from allauth.account.models import EmailAddress

from revcred.actions import credentials, subscriptions
from revcred.actions.credentials import NewKey, generate_key, generate_secret
from revcred.models import (
    Credential,
    Customer,
    Membership,
    Product,
    Subscriber,
    Subscription,
    User,
)

OWNER, MEMBER, VIEWER = Membership.Role.OWNER, Membership.Role.MEMBER, Membership.Role.VIEWER

DEMO_ADMIN_EMAIL = "admin@revcred.example"
HARBOUR, QUILL, TIDEWRACK, BRAMBLEGATE = DEMO_CUSTOMER_KEYS = (
    "harbour-pine",
    "quillfeather",
    "tidewrack",
    "bramblegate",
)
DEMO_HISTORY_AGE = timedelta(days=31)  # a day more than the calls of `traffic`
ONE_WEEK = timedelta(days=7)

# Aliases, by which a gateway may know a caller besides its key. They are no secrets.
SCANNERS_ALIAS = "harbour-scanners"
OLD_DESK_ALIAS = "claims-desk-2"

KeysByCredential = dict[str, str]  # by the name of their credential


@dataclass
class DemoCast:
    """A factory of the demo's people and credentials, which collects the keys in plain text."""

    admin: User
    now: datetime
    keys: KeysByCredential = field(default_factory=dict)
    # Keys that a rotation replaces, and revoked ones.
    old_keys: KeysByCredential = field(default_factory=dict)

    def customer(self, name: str, external_key: str, **facts: object) -> Customer:
        return Customer.objects.create(
            name=name,
            external_key=external_key,
            email_domains=[f"{external_key}.example"],
            **facts,
        )

    def subscriber(self, name: str, customer: Customer, role: Membership.Role) -> Subscriber:
        email = f"{name.split(maxsplit=1)[0].lower()}@{customer.email_domains[0]}"
        user = create_demo_account(email, name=name)
        subscriber = Subscriber.objects.create(email=email, name=name, user=user)
        Membership.objects.create(customer=customer, subscriber=subscriber, role=role)
        return subscriber

    def subscription(
        self,
        name: str,
        external_key: str,
        customer: Customer,
        product: Product,
        *,
        quota: int | None = None,
        ended: timedelta | None = None,
    ) -> Subscription:
        subscription = Subscription(
            name=name,
            external_key=external_key,
            customer=customer,
            product=product,
            quota=quota,
            active_from=self.now - DEMO_HISTORY_AGE,
            active_until=self.now - ended if ended else None,
        )
        subscriptions.start_subscription(subscription=subscription, by=self.admin)
        return subscription

    def credential(
        self,
        name: str,
        *feeds: Subscription,
        holders: Iterable[Subscriber],
        environment: str = "production",
        tags: Iterable[str] = (),
        has_secret: bool = False,
        expires_at: datetime | None = None,
    ) -> Credential:
        self.keys[name] = generate_key()
        return credentials.issue_credential(
            customer=feeds[0].customer,
            name=name,
            new_key=NewKey(
                key=self.keys[name],
                secret=generate_secret() if has_secret else None,
                active_from=self.now - DEMO_HISTORY_AGE,
            ),
            subscriptions=feeds,
            holders=holders,
            environment=environment,
            tags=tags,
            expires_at=expires_at,
            by=self.admin,
        )

    def rotate(self, credential: Credential, *, overlap: timedelta) -> None:
        self.old_keys[credential.name] = self.keys.pop(credential.name)
        self.keys[credential.name] = generate_key()
        credentials.rotate_credential(
            credential=credential,
            overlap=overlap,
            key=self.keys[credential.name],
            secret=generate_secret(),
            by=self.admin,
        )

    def revoke(self, credential: Credential, *, reason: str) -> None:
        self.old_keys[credential.name] = self.keys.pop(credential.name)
        credentials.revoke_credential(credential=credential, reason=reason, by=self.admin)


def create_demo_account(email: str, *, name: str, is_staff: bool = False) -> User:
    """Return the user with this address, or a new one, who can sign in once given a password."""
    user, is_new = User.objects.get_or_create(
        email=email, defaults={"name": name, "is_staff": is_staff, "is_superuser": is_staff}
    )
    if is_new:
        EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    return user


def create_demo_companies(cast: DemoCast) -> None:
    """Create all four companies, their subscriptions, and what happened to their credentials."""
    maps = _create_product(
        "Cartography", "2", "maps", tiles="/maps/v2/tiles/", routes="/maps/v2/routes/"
    )
    prose = _create_product(
        "Prose", "1", "prose", completions="/prose/v1/", embeddings="/prose/v1/embed/"
    )
    vault = _create_product("Vault", "", "vault", objects="/vault/v1/")
    _create_harbour_and_pine(cast, maps, vault)
    _create_quillfeather(cast, prose, vault)
    _create_tidewrack(cast, maps, prose)
    _create_bramblegate(cast, prose)


def _create_product(name: str, version: str, external_key: str, **prefixes: str) -> Product:
    # Also without a source: calls of their status pages match no rule.
    product = Product.objects.create(
        name=name, version=version, external_key=external_key, also_without_source=True
    )
    for key, prefix in prefixes.items():
        source = product.sources.create(name=key.title(), external_key=key)
        source.path_rules.create(text=prefix)
    return product


def _create_harbour_and_pine(cast: DemoCast, maps: Product, vault: Product) -> None:
    """Several credentials share one subscription, and one has moved to another last week."""
    harbour = cast.customer("Harbour & Pine Logistics", HARBOUR, tags=["freight"])
    ines = cast.subscriber("Ines Okafor", harbour, OWNER)
    tom = cast.subscriber("Tom Varga", harbour, MEMBER)
    lea = cast.subscriber("Lea Brandt", harbour, VIEWER)
    fleet = cast.subscription("Fleet maps", "harbour-fleet", harbour, maps, quota=12_000)
    planning = cast.subscription("Planning maps", "harbour-planning", harbour, maps, quota=5_000)
    notes = cast.subscription("Delivery notes", "harbour-notes", harbour, vault)

    cast.credential("Delivery app", fleet, holders=[ines, tom], tags=["mobile"], has_secret=True)
    cast.credential("Driver tablets", fleet, holders=[tom], tags=["mobile"], has_secret=True)
    cast.credential("Depot screens", fleet, holders=[tom, lea])
    planner = cast.credential("Route planner", fleet, holders=[ines, lea], has_secret=True)
    credentials.move_credential(
        credential=planner, subscription=fleet, to=planning, at=cast.now - ONE_WEEK, by=cast.admin
    )
    scanners = cast.credential("Scanner uplink", notes, holders=[tom], tags=["warehouse"])
    credentials.add_alias(credential=scanners, alias=SCANNERS_ALIAS, by=cast.admin)


def _create_quillfeather(cast: DemoCast, prose: Product, vault: Product) -> None:
    """One credential feeds two subscriptions; one is in rotation, one is suspended."""
    quill = cast.customer("Quillfeather Press", QUILL, tags=["publishing"])
    mirela = cast.subscriber("Mirela Aho", quill, OWNER)
    sam = cast.subscriber("Sam Pettigrew", quill, MEMBER)
    editors = cast.subscription("Prose for editors", "quill-prose", quill, prose, quota=8_000)
    manuscripts = cast.subscription("Manuscripts", "quill-vault", quill, vault)

    suite = cast.credential("Editorial suite", editors, holders=[mirela], has_secret=True)
    credentials.assign_subscription(
        credential=suite, subscription=manuscripts, at=cast.now - DEMO_HISTORY_AGE, by=cast.admin
    )
    search = cast.credential("Manuscript search", editors, holders=[sam], has_secret=True)
    cast.rotate(search, overlap=ONE_WEEK)
    shop = cast.credential("Print shop", manuscripts, holders=[mirela, sam])
    credentials.suspend_credential(credential=shop, by=cast.admin)


def _create_tidewrack(cast: DemoCast, maps: Product, prose: Product) -> None:
    """A trial that has ended, and a key that got out."""
    tidewrack = cast.customer("Tidewrack Forecasting", TIDEWRACK, tags=["weather", "trial"])
    jonas = cast.subscriber("Jonas Reed", tidewrack, OWNER)
    storms = cast.subscription("Storm maps", "tidewrack-maps", tidewrack, maps, quota=9_000)
    trial = cast.subscription(
        "Prose, trial", "tidewrack-trial", tidewrack, prose, ended=timedelta(days=5)
    )

    cast.credential("Storm map", storms, holders=[jonas], has_secret=True)
    cast.credential("Forecast newsletter", trial, holders=[jonas], environment="staging")
    webcams = cast.credential("Beach webcams", storms, holders=[jonas])
    cast.revoke(webcams, reason="The key was found in a public repository.")


def _create_bramblegate(cast: DemoCast, prose: Product) -> None:
    """An alias that has been ended, a credential that will expire, a member of two customers."""
    bramblegate = cast.customer("Bramblegate Mutual", BRAMBLEGATE, tags=["insurance"])
    ada = cast.subscriber("Ada Lindqvist", bramblegate, OWNER)
    jonas = Subscriber.objects.get(email="jonas@tidewrack.example")
    Membership.objects.create(customer=bramblegate, subscriber=jonas, role=VIEWER)
    claims = cast.subscription("Prose for claims", "bramblegate-prose", bramblegate, prose)

    desk = cast.credential("Claims desk", claims, holders=[ada], has_secret=True)
    alias = credentials.add_alias(credential=desk, alias=OLD_DESK_ALIAS, by=cast.admin)
    credentials.end_key(key=alias, at=cast.now - timedelta(days=12), by=cast.admin)
    cast.credential(
        "Valuation notebook",
        claims,
        holders=[ada],
        environment="staging",
        expires_at=cast.now + timedelta(days=10),
    )
