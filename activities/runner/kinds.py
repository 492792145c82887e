"""What grep's `type` stands for: ripgrep's own names and globs, the same with and without ripgrep."""

from __future__ import annotations

KINDS = {
    "c": "*.[chH] *.[chH].in *.cats",
    "cpp": "*.[ChH] *.[ChH].in *.[ch]pp *.[ch]pp.in *.[ch]xx *.[ch]xx.in *.cc *.cc.in *.hh *.hh.in *.inl",
    "css": "*.css *.scss",
    "csv": "*.csv",
    "go": "*.go",
    "html": "*.ejs *.htm *.html",
    "java": "*.java *.jsp *.jspx *.properties",
    "js": "*.cjs *.js *.jsx *.mjs *.vue",
    "json": "*.json *.sarif composer.lock",
    "kotlin": "*.kt *.kts",
    "md": "*.markdown *.md *.mdown *.mdwn *.mdx *.mkd *.mkdn",
    "php": "*.php *.php3 *.php4 *.php5 *.php7 *.php8 *.pht *.phtml",
    "py": "*.py *.pyi",
    "ruby": "*.gemspec *.rake *.rb *.rbw .irbrc Gemfile Rakefile config.ru",
    "rust": "*.rs",
    "sh": (
        "*.bash *.bashrc *.csh *.cshrc *.env *.ksh *.kshrc *.sh *.tcsh *.zsh .bash_login "
        ".bash_logout .bash_profile .bashrc .cshrc .env .kshrc .login .logout .profile .tcshrc "
        ".zlogin .zlogout .zprofile .zshenv .zshrc bash_login bash_logout bash_profile bashrc "
        "profile zlogin zlogout zprofile zshenv zshrc"
    ),
    "sql": "*.psql *.sql",
    "svelte": "*.svelte *.svelte.ts",
    "swift": "*.swift",
    "toml": "*.toml Cargo.lock",
    "ts": "*.cts *.mts *.ts *.tsx",
    "txt": "*.txt",
    "vue": "*.vue",
    "xml": "*.dtd *.rng *.sch *.xhtml *.xjb *.xml *.xml.dist *.xsd *.xsl *.xslt",
    "yaml": "*.yaml *.yml",
}
"""Name → globs of file names, as `rg --type-list` gives them."""


def globs_of(kind: str) -> list[str]:
    """Give the globs of a type; none for one that is not known."""
    return KINDS.get(kind, "").split()
