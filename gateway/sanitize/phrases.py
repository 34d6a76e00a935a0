"""What instructions to a model sound like: the phrases of `injection`, as slots with ` / ` between them.

A slot holds alternatives with `|`. `?` before it: may be left out; `+`: once or more; `*`: any number of times. `WORD`
stands for any one word. Between slots, and for each space within one, stands any white space, quotation or line mark.
"""

from gateway.sanitize.findings import Severity

_PRIOR = (
    "previous|previously|prior|preceding|above|earlier|former|foregoing|initial|original|existing|current|past|system|"
    "safety|security|ethical|moral|content|developer|default|built-in|hidden|all"
)
_RULES = (
    "instructions?|prompts?|commands?|directives?|rules?|guidelines?|guardrails?|directions|orders|constraints?|"
    "restrictions?|limitations?|policies|programming|safeguards?|protocols?|filters?"
)
_SAID = f"{_RULES}|context|messages?|tasks?|conversation|training|text|input|content"
_DROP = (
    "ignore|disregard|forget|override|bypass|discard|neglect|overwrite|circumvent|set aside|"
    "pay no attention to|(?:do not|don't|never|stop) (?:follow|following|obey|obeying|adhere to|adhering to)"
)
_WHOSE = "the|my|your|our|these|those|this|such|its"
_MODEL = "AI|A\\.I\\.|LLM|GPT|chatbot|(?:large )?language model|AI (?:assistant|agent|model|system|tool)"
_MODELS = f"(?:{_MODEL})s?"
_ARE = "are|is|have been|has been|were|was"
_MODE = "developer|debug|god|sudo|admin|DAN|jailbreak|unrestricted|unfiltered|diagnostic|maintenance|root"
_SHOW = "reveal|show|print|output|repeat|display|disclose|expose|share|dump|leak|recite|reproduce|return|write out"

PHRASES: tuple[tuple[str, Severity, str], ...] = (
    (
        "override",
        "medium",
        f"{_DROP} / ?all|any|every|each|both / ?of / ?{_WHOSE} / +{_PRIOR} / ?and|or|& / ?{_PRIOR} / ?WORD / {_SAID}",
    ),
    (
        "override",
        "medium",
        "ignore|disregard|forget|override / ?about / everything|anything|all|all of it|what / ?that / you|I|"
        "we|was|were|is|has|have|had|been|said|told|before|above|prior|previously|written|stated",
    ),
    (
        "override",
        "medium",
        f"{_PRIOR} / ?WORD / {_RULES} / {_ARE} / ?now|hereby|all / null|void|cancell?ed|revoked|disabled|"
        "superseded|overridden|obsolete|lifted|suspended|removed|no longer|deleted|erased|reset|replaced",
    ),
    (
        "override",
        "medium",
        "new|updated|revised|real|actual|additional|secret|true|priority / ?system / instructions?:|"
        "instructions? to follow|instructions? for you",
    ),
    (
        "override",
        "medium",
        "follow|obey|execute|adhere to / ?only / these|the following|this|my|only my|new / ?new / "
        "instructions?|orders|directives|commands?",
    ),
    (
        "override",
        "medium",
        "strictly|immediately / adhere to|comply with|conform to",
    ),
    (
        "override",
        "medium",
        "overriding|supersedes?|takes? precedence over|overrides? / *all|any|previous|prior|other|existing / "
        "instructions?|rules|prompts?|directives|guidelines",
    ),
    (
        "override",
        "medium",
        "ignora|ignore|ignorer|ignorez|ignoriere|ignoriert / ?todas|toutes|alle|tutte|todas as / ?las|les|le|"
        "die|as|der / instrucciones|instructions précédentes|bisherigen|vorherigen|istruzioni|instruções|"
        "anweisungen",
    ),
    (
        "override",
        "low",
        "ignore|disregard|forget|override|bypass|circumvent|abandon|drop|break|violate|set aside|let go of|"
        f"step outside|move past / ?all|any / ?of / your|its|these|those / ?WORD / {_RULES}",
    ),
    (
        "override",
        "low",
        "all|any|your / ?WORD / restrictions|guardrails|filters|guidelines|safeguards|limitations|directives|"
        f"constraints / ?{_ARE} / ?now / off|disabled|turned off|removed|lifted|suspended|void|gone|bypassed|"
        "deactivated|inactive",
    ),
    (
        "role_marker",
        "medium",
        "system|admin|administrator|developer|root|security / (?:override|instruction|prompt|command|mode|"
        r"directive) ?[:\-\]]",
    ),
    (
        "addressed",
        "medium",
        f"to you,? / ?the|my|an? / {_MODEL}",
    ),
    (
        "addressed",
        "medium",
        f"if / you're|you are / ?an?|the / {_MODEL}|automated agent|automated system|assistant|agent",
    ),
    (
        "addressed",
        "medium",
        f"dear|attention|note to|message to|message for|notice to|hey|hello|hi / ?the|any|all|my / {_MODELS}",
    ),
    (
        "addressed",
        "low",
        f"{_MODELS} / ?WORD / must|should|shall|need to|are required|have to|are instructed|reading this|"
        "processing this",
    ),
    (
        "detour",
        "medium",
        "before / ?you / ?can|may|could / (?:solv|continu|proceed|complet|finish|answer|respond|perform|"
        "start)(?:e|ing)?(?: with| to)?|do / ?the|this|that|your|my|any / ?WORD / task|request|question|user|"
        "prompt|query",
    ),
    (
        "detour",
        "medium",
        "after / ?you / ?'ve|have / do|done|doing|did|completed?|completing|finish|finished|finishing / "
        "(?:that|this|it|so|these),? / you can|you may|you should|continue|solve|proceed|return",
    ),
    (
        "detour",
        "medium",
        "instead of|rather than / answering|solving|doing|completing|following|responding to / ?the|this|"
        "that|what / ?WORD / task|request|question|user|instructions?",
    ),
    (
        "concealment",
        "medium",
        "do not|don't|dont|never|without / ?ever / (?:tell|mention|inform|reveal|notify|alert|disclose|"
        "show)(?:ing)?|notifying|revealing|disclosing / ?this|it|that|anything|any of this / ?to|"
        "about this to / ?the|your|any / users?|human|operator|owner|customer|anyone|anybody",
    ),
    (
        "concealment",
        "low",
        "keep / this|it|that / ?a / secret|hidden|quiet|confidential|between us",
    ),
    (
        "steering",
        "medium",
        "before|after|when|prior to / using|calling|invoking|running / this|any|any other|every|all|other|"
        "the / ?WORD / tools?",
    ),
    (
        "steering",
        "medium",
        "you / must|should|have to|need to / *always|first|also|immediately / call|invoke|run|use|execute / "
        "?the / WORD / tool|function|command|api",
    ),
    (
        "encoded",
        "medium",
        "decode|decrypt|deobfuscate|unscramble|rot13|base64|translate / *this|the|following|it|below|text|"
        "string|message|from|base64 / and|then / ?then / follow|execute|run|obey|act|do|comply|respond|"
        "perform|answer",
    ),
    (
        "prompt_leak",
        "low",
        f"{_SHOW}|give|tell|list|state|provide|explain|describe|send|what is|what are|what were / ?me|us / "
        "?all / ?of / your|the|its|any / *full|complete|exact|entire|own|current|very|original|core|"
        "underlying|confidential|developer|operational / +system|hidden|initial|secret|internal / prompts?|"
        "instructions?|messages?|guidelines|directives|configuration|rules",
    ),
    (
        "prompt_leak",
        "low",
        f"{_SHOW} / ?me|us / ?all / ?of / your / ?WORD / prompts?|instructions?|guidelines|directives|"
        "initiali[sz]ation|configuration|programming|constraints|rules",
    ),
    (
        "prompt_leak",
        "low",
        "repeat / everything|all|the words|the text|all the words|all words|all text / above|before|prior",
    ),
    (
        "persona",
        "low",
        "you are|you're / now|no longer / ?WORD / ?WORD / DAN|unrestricted|unfiltered|free|jailbroken|evil|"
        "uncensored|without|bound|restricted|limited|constrained",
    ),
    (
        "persona",
        "low",
        "do anything now",
    ),
    (
        "persona",
        "low",
        f"{_MODE} / mode:? / enabled|activated|on|is on|active|engaged|unlocked",
    ),
    (
        "persona",
        "low",
        f"enable|activate|enter|switch to|engage|unlock / {_MODE} / mode",
    ),
    (
        "persona",
        "low",
        "without|no|free of|free from|zero|lift|disable|remove|turn off|drop / *any|all|your|the / ?ethical|"
        "safety|moral|content|usual|normal|built-in / restrictions|guardrails|guidelines|censorship|"
        "safeguards|safety (?:measures|protocols|checks|filters|features|rules)|content filters?|"
        "ethical constraints",
    ),
    (
        "persona",
        "low",
        "pretend|imagine|act as if|act like|behave as if|act as though / ?that / you|you're|you are|to be / "
        "?WORD / ?WORD / no|without|unrestricted|free|evil|uncensored|unfiltered|jailbroken",
    ),
)
