CREATE TABLE artifacts (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    project TEXT NOT NULL,
    type TEXT NOT NULL,
    content JSONB NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT artifacts_pkey PRIMARY KEY (id),
    CONSTRAINT artifacts_project_type_key UNIQUE (project, type)
);

CREATE TABLE documents (
    build_id TEXT NOT NULL,
    section TEXT NOT NULL,
    content TEXT NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT documents_pkey PRIMARY KEY (build_id, section)
);

CREATE TABLE escalations (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    build_id TEXT NOT NULL,
    signature TEXT NOT NULL,
    problem TEXT NOT NULL,
    options JSONB DEFAULT '[]' NOT NULL,
    status TEXT DEFAULT 'pending' NOT NULL,
    choice TEXT DEFAULT '' NOT NULL,
    guidance TEXT DEFAULT '' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    resolved_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT escalations_pkey PRIMARY KEY (id)
);

CREATE INDEX escalations_build_id_status_idx ON escalations (build_id, status);

CREATE TABLE phases (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    build_id TEXT NOT NULL,
    name TEXT NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    completed_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT phases_pkey PRIMARY KEY (id),
    CONSTRAINT phases_build_id_name_key UNIQUE (build_id, name)
);

CREATE TABLE plan_tiers (
    slug TEXT NOT NULL,
    name TEXT NOT NULL,
    cycle_budget BIGINT DEFAULT 0 NOT NULL,
    default_models JSONB DEFAULT '{}' NOT NULL,
    allowed_models JSONB,
    weight BIGINT DEFAULT 1 NOT NULL,
    CONSTRAINT plan_tiers_pkey PRIMARY KEY (slug)
);

COMMENT ON COLUMN plan_tiers.allowed_models IS 'null: every model that has a price';

CREATE TABLE restore_points (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    build_id TEXT NOT NULL,
    project TEXT NOT NULL,
    parent_id BIGINT,
    number INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    reason TEXT NOT NULL,
    turn INTEGER NOT NULL,
    head_id BIGINT,
    files BIGINT DEFAULT 0 NOT NULL,
    changed BIGINT DEFAULT 0 NOT NULL,
    bytes BIGINT DEFAULT 0 NOT NULL,
    omitted JSONB DEFAULT '[]' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT restore_points_pkey PRIMARY KEY (id),
    CONSTRAINT restore_points_build_id_generation_number_key UNIQUE (build_id, generation, number),
    CONSTRAINT restore_points_key_key UNIQUE (key)
);

CREATE INDEX restore_points_build_id_id_idx ON restore_points (build_id, id);

CREATE INDEX restore_points_project_id_idx ON restore_points (project, id);

COMMENT ON COLUMN restore_points.number IS 'of the capture, in its generation';

COMMENT ON COLUMN restore_points.key IS 'manifest in the bucket';

COMMENT ON COLUMN restore_points.kind IS 'full, delta';

COMMENT ON COLUMN restore_points.head_id IS 'transcript row that the files belong to';

CREATE TABLE sandboxes (
    build_id TEXT NOT NULL,
    role TEXT NOT NULL,
    generation INTEGER NOT NULL,
    sandbox_id TEXT DEFAULT '' NOT NULL,
    state TEXT NOT NULL,
    details JSONB DEFAULT '{}' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT sandboxes_pkey PRIMARY KEY (build_id, role, generation)
);

CREATE INDEX sandboxes_state_idx ON sandboxes (state);

COMMENT ON COLUMN sandboxes.role IS 'build, check';

COMMENT ON COLUMN sandboxes.state IS 'creating, live, paused, doomed, gone';

CREATE TABLE switches (
    name TEXT NOT NULL,
    "on" BOOLEAN NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT switches_pkey PRIMARY KEY (name)
);

CREATE TABLE transcript (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    build_id TEXT NOT NULL,
    parent_id BIGINT,
    role TEXT NOT NULL,
    body TEXT NOT NULL,
    digest TEXT NOT NULL,
    epoch INTEGER DEFAULT 0 NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT transcript_pkey PRIMARY KEY (id),
    CONSTRAINT transcript_build_id_parent_id_digest_key UNIQUE NULLS NOT DISTINCT (build_id, parent_id, digest),
    CONSTRAINT transcript_parent_id_fkey FOREIGN KEY(parent_id) REFERENCES transcript (id)
);

CREATE INDEX transcript_parent_id_idx ON transcript (parent_id);

COMMENT ON COLUMN transcript.role IS 'system (starts an epoch), user, assistant';

COMMENT ON COLUMN transcript.body IS 'JSON text, sent exactly as it is';

CREATE TABLE understanding_sessions (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    project TEXT NOT NULL,
    questions JSONB NOT NULL,
    answers JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT understanding_sessions_pkey PRIMARY KEY (id)
);

CREATE INDEX understanding_sessions_project_idx ON understanding_sessions (project);

COMMENT ON COLUMN understanding_sessions.questions IS 'list of {id, text}';

COMMENT ON COLUMN understanding_sessions.answers IS 'id → text';

CREATE TABLE ledger (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    build_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    day DATE NOT NULL,
    message_id BIGINT NOT NULL,
    reply_id BIGINT,
    state TEXT NOT NULL,
    model TEXT NOT NULL,
    price_id TEXT NOT NULL,
    reserved BIGINT NOT NULL,
    cost BIGINT DEFAULT 0 NOT NULL,
    max_tokens BIGINT DEFAULT 0 NOT NULL,
    input_tokens BIGINT DEFAULT 0 NOT NULL,
    cache_read_tokens BIGINT DEFAULT 0 NOT NULL,
    cache_write_tokens BIGINT DEFAULT 0 NOT NULL,
    output_tokens BIGINT DEFAULT 0 NOT NULL,
    stop_reason TEXT DEFAULT '' NOT NULL,
    request_id TEXT DEFAULT '' NOT NULL,
    note TEXT DEFAULT '' NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT ledger_pkey PRIMARY KEY (id),
    CONSTRAINT ledger_state_check CHECK (state IN ('reserved', 'settled', 'lost', 'released')),
    CONSTRAINT ledger_money_check CHECK (reserved >= 0 AND cost >= 0),
    CONSTRAINT ledger_message_id_fkey FOREIGN KEY(message_id) REFERENCES transcript (id),
    CONSTRAINT ledger_reply_id_fkey FOREIGN KEY(reply_id) REFERENCES transcript (id)
);

CREATE UNIQUE INDEX ledger_bought ON ledger (message_id) WHERE state = 'settled';

CREATE INDEX ledger_build_id_state_idx ON ledger (build_id, state);

CREATE UNIQUE INDEX ledger_open ON ledger (build_id) WHERE state = 'reserved';

CREATE UNIQUE INDEX ledger_reply ON ledger (reply_id) WHERE reply_id IS NOT NULL;

CREATE INDEX ledger_user_id_day_idx ON ledger (user_id, day);

COMMENT ON COLUMN ledger.state IS 'reserved, settled, lost, released';

CREATE TABLE restore_point_packs (
    restore_point BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT restore_point_packs_pkey PRIMARY KEY (restore_point, sha256),
    CONSTRAINT restore_point_packs_restore_point_fkey FOREIGN KEY(restore_point) REFERENCES restore_points (id) ON DELETE CASCADE
);

CREATE INDEX restore_point_packs_sha256_idx ON restore_point_packs (sha256);

CREATE TABLE tool_results (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    head_id BIGINT NOT NULL,
    tool_use_id TEXT NOT NULL,
    body TEXT NOT NULL,
    preview TEXT DEFAULT '' NOT NULL,
    is_error BOOLEAN NOT NULL,
    generation INTEGER NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT tool_results_pkey PRIMARY KEY (id),
    CONSTRAINT tool_results_head_id_tool_use_id_key UNIQUE (head_id, tool_use_id),
    CONSTRAINT tool_results_head_id_fkey FOREIGN KEY(head_id) REFERENCES transcript (id)
);

COMMENT ON COLUMN tool_results.body IS 'JSON text of a whole tool_result block';

CREATE TABLE tool_starts (
    head_id BIGINT NOT NULL,
    tool_use_id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT tool_starts_pkey PRIMARY KEY (head_id, tool_use_id),
    CONSTRAINT tool_starts_head_id_fkey FOREIGN KEY(head_id) REFERENCES transcript (id)
);

CREATE TABLE users (
    id TEXT NOT NULL,
    tier TEXT NOT NULL,
    timezone TEXT DEFAULT 'UTC' NOT NULL,
    renews_on DATE,
    cycle_budget BIGINT,
    override_models JSONB DEFAULT '{}' NOT NULL,
    suspended BOOLEAN DEFAULT false NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT users_tier_fkey FOREIGN KEY(tier) REFERENCES plan_tiers (slug)
);

COMMENT ON COLUMN users.renews_on IS 'null: the first of each month';

COMMENT ON COLUMN users.cycle_budget IS 'null: the tier''s';

CREATE TABLE days (
    user_id TEXT NOT NULL,
    day DATE NOT NULL,
    allowance BIGINT DEFAULT 0 NOT NULL,
    added BIGINT DEFAULT 0 NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT days_pkey PRIMARY KEY (user_id, day),
    CONSTRAINT days_money_check CHECK (allowance >= 0 AND allowance + added >= 0),
    CONSTRAINT days_user_id_fkey FOREIGN KEY(user_id) REFERENCES users (id)
);

COMMENT ON COLUMN days.day IS 'local day of the user';

CREATE TABLE projects (
    id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT projects_pkey PRIMARY KEY (id),
    CONSTRAINT projects_user_id_fkey FOREIGN KEY(user_id) REFERENCES users (id)
);

CREATE TABLE builds (
    id TEXT NOT NULL,
    workflow_id TEXT NOT NULL,
    project TEXT NOT NULL,
    user_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    model TEXT NOT NULL,
    plan JSONB DEFAULT '{}' NOT NULL,
    head BIGINT NOT NULL,
    restore_point BIGINT,
    status TEXT DEFAULT 'starting' NOT NULL,
    phase TEXT DEFAULT '' NOT NULL,
    outcome TEXT DEFAULT '' NOT NULL,
    message TEXT DEFAULT '' NOT NULL,
    debug_id TEXT DEFAULT '' NOT NULL,
    sandbox_id TEXT DEFAULT '' NOT NULL,
    preview_url TEXT DEFAULT '' NOT NULL,
    workspace TEXT DEFAULT '' NOT NULL,
    start_command TEXT DEFAULT '' NOT NULL,
    spent BIGINT DEFAULT 0 NOT NULL,
    wake_at TIMESTAMP WITH TIME ZONE,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT builds_pkey PRIMARY KEY (id),
    CONSTRAINT builds_project_fkey FOREIGN KEY(project) REFERENCES projects (id),
    CONSTRAINT builds_user_id_fkey FOREIGN KEY(user_id) REFERENCES users (id)
);

CREATE UNIQUE INDEX builds_live_number ON builds (project, number) WHERE status <> 'failed';

CREATE INDEX builds_user_id_status_idx ON builds (user_id, status);

CREATE INDEX builds_workflow_id_idx ON builds (workflow_id);

COMMENT ON COLUMN builds.id IS 'run id of the run that prepared it';

COMMENT ON COLUMN builds.number IS 'N of build_v0_N';

COMMENT ON COLUMN builds.head IS 'transcript row of the first message';

COMMENT ON COLUMN builds.restore_point IS 'where it began, then its last';

INSERT INTO plan_tiers (slug, name, cycle_budget, default_models, allowed_models, weight) VALUES
    ('bootstrapper', 'Bootstrapper', 30000000, '{}',
     '["claude-haiku-5-5", "claude-haiku-4-5", "claude-sonnet-5-5", "claude-sonnet-5"]', 1),
    ('partner', 'Partner', 120000000, '{}',
     '["claude-haiku-5-5", "claude-haiku-4-5", "claude-sonnet-5-5", "claude-sonnet-5", "claude-opus-5-5", "claude-opus-5"]', 2),
    ('cto_scale', 'CTO at scale', 450000000, '{"coder": "claude-opus-5-5"}', NULL, 5);

INSERT INTO users (id, tier, timezone) VALUES ('local', 'partner', 'UTC');
