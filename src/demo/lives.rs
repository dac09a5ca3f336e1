//! What happens to one thing on a platform, in the order in which it can happen.
//!
//! Every event type that is compiled in stands here, so that none is shown out of the blue: what is updated was created
//! before, what is resumed was suspended.

/// Platform, and the types without it.
pub type Life = (&'static str, &'static [&'static str]);

pub const LIVES: &[Life] = &[
    ("replicated", &["channel.created", "channel.archived"]),
    ("replicated", &["release.created", "release.promoted", "release.asset_downloaded", "release.unpublished"]),
    ("replicated", &["release.created", "release.build_failed"]),
    (
        "replicated",
        &[
            "customer.pending_signup",
            "customer.created",
            "customer.license_expiring",
            "customer.archived",
            "customer.unarchived",
        ],
    ),
    (
        "replicated",
        &[
            "customer.created",
            "customer.ep_invite_sent",
            "customer.ep_access_granted",
            "customer.ep_user_joined",
            "customer.updated",
        ],
    ),
    (
        "replicated",
        &[
            "customer.created",
            "instance.created",
            "instance.ready",
            "instance.upgrade_started",
            "instance.upgrade_completed",
        ],
    ),
    (
        "replicated",
        &["customer.created", "instance.created", "instance.ready", "instance.version_behind", "instance.inactive"],
    ),
    (
        "replicated",
        &[
            "customer.created",
            "instance.ready",
            "instance.state.duration",
            "instance.state.flapping",
            "support.bundle.uploaded",
            "support.bundle.analyzed",
        ],
    ),
    ("replicated", &["instance.custom_metric_threshold_reached", "platform.egress_threshold_reached"]),
    ("scalingo", &["project_created", "project_edited", "app_project_updated", "project_deleted"]),
    ("scalingo", &["github_link", "app_deployed", "app_restarted", "github_unlink"]),
    ("scalingo", &["app_edited", "app_renamed", "app_transferred", "app_region_migration_started"]),
    ("scalingo", &["variable_added", "variable_edited", "variable_bulk_edited", "variable_removed", "app_restarted"]),
    ("scalingo", &["addon_provisioned", "addon_updated", "addon_plan_changed", "addon_db_upgraded", "addon_deleted"]),
    ("scalingo", &["addon_suspended", "app_stopped", "addon_resumed", "app_restarted"]),
    ("scalingo", &["app_scaled", "app_command_ran", "app_deleted"]),
    ("scalingo", &["app_crashed_repeated", "app_crashed_repeated", "app_crashed", "app_restarted"]),
    ("scalingo", &["alert_added", "app_alert_triggered", "alert_deleted"]),
    (
        "scalingo",
        &["collaborator_invited", "collaborator_accepted", "collaborator_role_changed", "collaborator_removed"],
    ),
    ("scalingo", &["domain_added", "domain_edited", "domain_removed"]),
    ("scalingo", &["notifier_added", "notifier_edited", "notifier_removed"]),
    ("scalingo", &["database_maintenance_planned", "database_maintenance_started", "database_maintenance_completed"]),
    ("scalingo", &["database_backup_succeeded", "database_backup_failed"]),
    (
        "scalingo",
        &["database_continuousbackup_delayed", "database_continuousbackup_stale", "database_continuousbackup_healthy"],
    ),
    ("tyk", &["api_event.created", "api_event.updated", "api_event.deleted"]),
    (
        "tyk",
        &[
            "key_request_event.submitted",
            "key_request_event.updated",
            "key_event.created",
            "key_event.updated",
            "key_event.deleted",
        ],
    ),
    ("tyk", &["TokenCreated", "RateLimitSmoothingUp", "RatelimitExceeded", "RateLimitSmoothingDown", "TokenUpdated"]),
    ("tyk", &["TriggerExceeded", "QuotaExceeded", "OrgRateLimitExceeded", "OrgQuotaExceeded"]),
    ("tyk", &["KeyExpired", "AuthFailure", "TokenDeleted"]),
    ("tyk", &["HostDown", "BreakerTriggered", "BreakerTripped", "HostUp", "BreakerReset"]),
    ("tyk", &["VersionFailure", "UpstreamOAuthError"]),
    ("tyk", &["CertificateExpiringSoon", "CertificateExpired"]),
    ("tyk", &["UserRegistered", "UserAccountActivated", "PasswordReset", "UserAccountDeactivated"]),
    (
        "tyk",
        &[
            "ApplicationRegistered",
            "AccessRequestCreated",
            "AccessRequestApproved",
            "CredentialRegistered",
            "AccessRequestRejected",
        ],
    ),
    (
        "tyk",
        &[
            "OrganizationRequestCreated",
            "OrganizationRequestApproved",
            "OrganizationRegistered",
            "OrganizationRequestRejected",
        ],
    ),
    (
        "pandium",
        &["integration_created", "tenant_created", "run_failed", "partner_integration_updated", "tenant_archived"],
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tidings_core::catalog::Catalog;

    use super::*;

    #[test]
    fn every_event_type_has_its_place_in_a_life() {
        let told: BTreeSet<String> = LIVES
            .iter()
            .flat_map(|(platform, types)| types.iter().map(move |stem| format!("{platform}.{stem}")))
            .collect();
        assert_eq!(told, Catalog::builtin().types().map(|t| t.key.to_string()).collect());
    }
}
