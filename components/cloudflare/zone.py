"""The zone at Cloudflare: its settings, its certificates at the edge, and the one ruleset of each phase.

Owns what holds for the zone as a whole. Leaves names to `dns`, logins to `access`, and the rules themselves to
`rulesets`. A setting that is null stays as somebody left it at Cloudflare.
"""

from dataclasses import dataclass

import pulumi

from components.cloudflare.rulesets import phase_rules
from components.sdk import cloudflare
from settings.cloudflare.zone import Zone
from settings.fields import DomainName
from settings.ingress import Hsts


@dataclass(frozen=True, kw_only=True)
class ZoneSecurityArgs:
    """The zone's settings, valid for its plan.

    `hsts` is that of the ingress controller behind the tunnel. `protected_hosts` are behind Access (`access`).
    """

    zone: Zone
    zone_id: str
    domain: DomainName
    hsts: Hsts
    protected_hosts: list[str]


class ZoneSecurity(pulumi.ComponentResource):
    """Settings, edge certificates and rulesets of the zone (`anton:network:ZoneSecurity`).

    `phases` says how many rules each phase has. `ds_record` is what the registrar wants to know, None without DNSSEC.
    """

    phases: pulumi.Output[dict[str, int]]
    ds_record: pulumi.Output[str | None]

    def __init__(self, name: str, args: ZoneSecurityArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("anton:network:ZoneSecurity", name, {}, opts)
        for setting_id, value in args.zone.settings.values(args.hsts).items():
            cloudflare.ZoneSetting(
                f"{name}-{setting_id}",
                zone_id=args.zone_id,
                setting_id=setting_id,
                value=value,
                # Of a value that is an object the plugin's update sends what changed alone, and Cloudflare takes the
                # rest as off. A create sends all of it, and the plugin's delete does nothing.
                opts=pulumi.ResourceOptions(
                    parent=self, replace_on_changes=["value"] if isinstance(value, dict) else None
                ),
            )
        found = phase_rules(args.zone.rules, args.protected_hosts)
        for phase, rules in found.items():
            cloudflare.Ruleset(
                f"{name}-{phase.value}",
                zone_id=args.zone_id,
                kind="zone",
                phase=phase.value,
                name=f"Kept by Pulumi: {phase.value}",
                rules=rules,
                opts=pulumi.ResourceOptions(parent=self),
            )
        self._certificates(name, args)
        self._bots(name, args)
        self._tiered_cache(name, args)
        self.ds_record = self._dnssec(name, args)
        self.phases = pulumi.Output.from_input({phase.value: len(rules) for phase, rules in found.items()})
        self.register_outputs({"phases": self.phases, "ds_record": self.ds_record})

    def _tiered_cache(self, name: str, args: ZoneSecurityArgs) -> None:
        if args.zone.tiered_cache is None:
            return
        value = "on" if args.zone.tiered_cache else "off"
        # Cloudflare chooses the upper tier ("smart") only where there are tiers.
        tiers = cloudflare.ArgoTieredCaching(
            f"{name}-tiers", zone_id=args.zone_id, value=value, opts=pulumi.ResourceOptions(parent=self)
        )
        cloudflare.TieredCache(
            f"{name}-tiered-cache",
            zone_id=args.zone_id,
            value=value,
            # The plugin's delete turns it off; a setting that goes leaves its last value.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[tiers], retain_on_delete=True),
        )

    def _certificates(self, name: str, args: ZoneSecurityArgs) -> None:
        if args.zone.total_tls:
            cloudflare.TotalTls(
                f"{name}-total-tls",
                zone_id=args.zone_id,
                enabled=True,
                certificate_authority=args.zone.total_tls.authority.value,
                opts=pulumi.ResourceOptions(parent=self),
            )
        for key, pack in args.zone.certificate_packs.items():
            hosts = sorted({args.domain, *pack.hosts})
            cloudflare.CertificatePack(
                f"{name}-certificate-{key}",
                zone_id=args.zone_id,
                type="advanced",
                hosts=hosts,
                certificate_authority=pack.authority.value,
                validation_method="txt",
                validity_days=pack.validity_days,
                cloudflare_branding=False,  # read back by an import; unset next to that, the pack would be replaced
                opts=pulumi.ResourceOptions(
                    parent=self,
                    # A pack made without it would be replaced for it.
                    ignore_changes=["cloudflareBranding"],
                    # The plugin plans nothing when hosts become fewer.
                    replacement_trigger=hosts,
                ),
            )

    def _bots(self, name: str, args: ZoneSecurityArgs) -> None:
        bots = args.zone.bots
        if bots is None:
            return
        cloudflare.BotManagement(
            f"{name}-bots",
            zone_id=args.zone_id,
            fight_mode=bots.fight_mode,
            ai_bots_protection=bots.ai_bots.value if bots.ai_bots else None,
            is_robots_txt_managed=bots.managed_robots_txt,
            sbfm_definitely_automated=bots.definitely_automated.value if bots.definitely_automated else None,
            sbfm_likely_automated=bots.likely_automated.value if bots.likely_automated else None,
            sbfm_verified_bots=bots.verified_bots.value if bots.verified_bots else None,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _dnssec(self, name: str, args: ZoneSecurityArgs) -> pulumi.Output[str | None]:
        if args.zone.dnssec is None:
            return pulumi.Output.from_input(None)
        dnssec = cloudflare.ZoneDnssec(
            f"{name}-dnssec",
            zone_id=args.zone_id,
            status="active" if args.zone.dnssec else "disabled",
            # The plugin's delete disables DNSSEC. While the registrar still has the DS record, the domain is bogus for
            # every resolver that validates: only `dnssec: false` does that, in the order that the documentation gives.
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=True),
        )
        return dnssec.ds if args.zone.dnssec else pulumi.Output.from_input(None)
