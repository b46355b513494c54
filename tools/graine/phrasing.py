"""How people ask: frames around a subject, politeness, typing habits, mistakes.

Knows how to turn a fact into one of very many questions (`ask`), and how to write conversations
and system prompts around them. Knows no fact. Everything is drawn from the `random.Random` given.
"""

from __future__ import annotations

import re
import unicodedata
from random import Random

from tools.graine.facts import Fact

WRITTEN = 0.8
"""How often a fact that has questions written by hand is asked by one of them, and not by a frame."""


def wordset(text: str) -> frozenset[str]:
    return frozenset(text.split())


DEFINE = {
    "fr": (
        "qu'est-ce que {s} ?", "qu'est-ce que c'est, {s} ?", "c'est quoi {s} ?", "{s}, c'est quoi ?", "{s} ?", "{s}",
        "définis {s}", "explique-moi {s}", "explique {s}", "que signifie {s} ?", "que veut dire {s} ?",
        "définition de {s}", "tu peux m'expliquer {s} ?", "peux-tu expliquer {s} ?", "pourrais-tu m'expliquer {s} ?",
        "à quoi correspond {s} ?", "je ne comprends pas {s}", "{s} ça veut dire quoi ?", "parle-moi de {s}",
        "{s} en quelques mots", "j'aimerais comprendre {s}", "kesako {s} ?", "comment définir {s} ?", "{s} définition",
        "on m'a parlé de {s}, c'est quoi ?", "je vois partout {s}, qu'est-ce que c'est ?", "comment fonctionne {s} ?",
        "comment marche {s} ?", "à quoi sert {s} ?", "c'est quoi exactement {s} ?", "ça sert à quoi {s} ?",
        "qu'appelle-t-on {s} ?", "dis-moi ce qu'est {s}", "{s} signification", "que sais-tu de {s} ?",
        "tu peux m'en dire plus sur {s} ?", "pourquoi tout le monde parle de {s} ?", "j'ai du mal à saisir {s}",
        "en quoi consiste {s} ?", "{s}, ça consiste en quoi ?", "résume {s}", "quel est le rôle de {s} ?",
        "que fait {s} ?", "j'entends parler de {s}", "besoin d'infos sur {s}", "des infos sur {s} ?", "c quoi {s}",
        "quelqu'un peut m'expliquer {s} ?", "aide-moi à comprendre {s}", "que dois-je savoir sur {s} ?",
        "c'est quoi ce truc, {s} ?", "quel est l'intérêt de {s} ?", "vous pouvez m'expliquer {s} ?",
        "expliquez-moi {s}", "qu'entend-on par {s} ?", "{s} ça sert à quoi ?", "{s}, quel genre de chose est-ce ?",
        "je lis partout le terme {s}", "donne une définition simple de {s}", "qu'est-ce qu'il faut retenir de {s} ?",
        "comment ça marche {s} ?", "pourquoi parle-t-on de {s} ?", "quelle est l'utilité de {s} ?",
    ),
    "en": (
        "what is {s}?", "what's {s}?", "{s}, what is it?", "{s}?", "{s}", "define {s}", "explain {s} to me",
        "explain {s}", "what does {s} mean?", "meaning of {s}", "definition of {s}", "can you explain {s}?",
        "could you explain {s}?", "what do you mean by {s}?", "i don't understand {s}", "tell me about {s}",
        "{s} in a few words", "i would like to understand {s}", "what exactly is {s}?", "{s} definition",
        "someone told me about {s}, what is it?", "i keep seeing {s}, what is that?", "how does {s} work?",
        "what is {s} for?", "what's {s} used for?", "what is called {s}?", "what is meant by {s}?", "{s} meaning",
        "what do you know about {s}?", "describe {s}", "what are {s}?", "help me understand {s}", "{s} explained",
        "i'd like to learn more about {s}", "why is everybody talking about {s}?", "i struggle to grasp {s}",
        "what does {s} consist of?", "summarise {s}", "what is the role of {s}?", "what does {s} do?",
        "i hear about {s}", "info on {s}", "any information about {s}?", "can someone explain {s}?", "wat is {s}",
        "what should i know about {s}?", "what is this thing, {s}?", "what's the point of {s}?", "who can explain {s}?",
        "please define {s}", "what is understood by {s}?", "{s} is used for what?", "{s}, what kind of thing is it?",
        "i read the term {s} everywhere", "give a simple definition of {s}", "what should i remember about {s}?",
        "how {s} works", "why do people talk about {s}?", "what is the use of {s}?", "what's {s} about?",
    ),
}  # fmt: skip
DO = {
    "fr": (
        "comment {s} ?", "comment {s} ?", "comment faire pour {s} ?", "je veux {s}", "je voudrais {s}", "{s}",
        "quelle commande pour {s} ?", "comment puis-je {s} ?", "comment je fais pour {s} ?", "est-il possible de {s} ?",
        "peut-on {s} ?", "puis-je {s} ?", "je cherche à {s}", "{s}, c'est possible ?", "{s}, comment faire ?",
        "j'aimerais {s}", "que taper pour {s} ?", "y a-t-il un moyen de {s} ?", "aide-moi à {s}",
        "que faire pour {s} ?",
        "je n'arrive pas à {s}", "comment est-ce qu'on peut {s} ?", "c'est quoi la commande pour {s} ?",
        "comment on fait pour {s} ?", "montre-moi comment {s}", "explique comment {s}", "dis-moi comment {s}",
        "quelle est la marche à suivre pour {s} ?", "j'ai besoin de {s}", "comment s'y prendre pour {s} ?",
        "quelle option pour {s} ?", "il faut faire quoi pour {s} ?", "par quel moyen {s} ?", "comment vais-je {s} ?",
        "tu sais comment {s} ?", "comment dois-je faire pour {s} ?", "je dois {s}", "vous pouvez m'aider à {s} ?",
        "quelle manip pour {s} ?", "où aller pour {s} ?", "comment arriver à {s} ?", "je n'ai pas compris comment {s}",
    ),
    "en": (
        "how do i {s}?", "how do i {s}?", "how can i {s}?", "how to {s}?", "i want to {s}",
        "i would like to {s}", "{s}",
        "which command to {s}?", "command to {s}", "is it possible to {s}?", "can i {s}?", "can you {s}?", "{s}, how?",
        "i am trying to {s}", "{s}, is that possible?", "what should i type to {s}?", "is there a way to {s}?",
        "help me {s}", "what do i do to {s}?", "i can't {s}", "what's the command to {s}?", "i need to {s}",
        "show me how to {s}", "explain how to {s}", "tell me how to {s}", "how would i {s}?", "best way to {s}?",
        "what are the steps to {s}?", "how should i go about it to {s}?", "which option to {s}?", "i have to {s}",
        "what must i do to {s}?", "by what means can i {s}?", "do you know how to {s}?", "how does one {s}?",
        "could you help me {s}?", "where do i go to {s}?", "how do you {s}?", "i do not understand how to {s}",
        "any way to {s}?", "what lets me {s}?", "is there a command to {s}?",
    ),
}  # fmt: skip
BEFORE = {
    "fr": (
        "dis-moi,", "s'il te plaît,", "bonjour,", "salut,", "bonjour !", "excuse-moi,", "au fait,",
        "question :", "euh,",
        "je me demande,", "une petite question :", "svp,", "dis,", "alors,", "ok,", "et", "j'ai une question.",
        "je débute,", "je suis perdu,", "franchement,", "en fait,", "sais-tu", "peux-tu me dire", "j'aimerais savoir",
        "je voudrais savoir", "pour mon projet,", "mon fils me demande,", "donc", "rappelle-moi", "bonsoir,", "pardon,",
        "je viens de commencer.", "mon collègue dit que c'est important.", "je n'y connais rien.", "sérieusement,",
        "désolé si c'est bête,", "j'ai regardé partout.", "rapidement,", "on m'a posé la question,", "à ton avis,",
        "je ne trouve pas la réponse.", "pour être sûr,", "hier je me suis demandé,", "autre chose,", "ensuite,",
    ),
    "en": (
        "tell me,", "please,", "hello,", "hi,", "hello!", "excuse me,", "by the way,", "question:", "um,",
        "i was wondering,", "a quick question:", "pls", "hey,", "so,", "ok,", "and", "i have a question.",
        "i am new to this,", "i am lost,", "honestly,", "actually,", "do you know", "can you tell me",
        "i'd like to know", "i would like to know", "for my project,", "my son asks,", "well,", "remind me", "sorry,",
        "i have just started.", "my colleague says it matters.", "i know nothing about it.", "seriously,",
        "sorry if it is silly,", "i looked everywhere.", "quickly,", "someone asked me,", "in your view,",
        "i can't find the answer.", "to be sure,", "yesterday i wondered,", "another thing,", "next,", "right,",
    ),
}  # fmt: skip
AFTER = {
    "fr": ("merci", "s'il te plaît", "svp", "stp", "s'il vous plaît", "au juste", "exactement", "en gros", "simplement",
           "pour un débutant", "en deux mots", "merci d'avance", "déjà", "dans Domicile", "au fait", "en pratique",
           "d'après toi", "chez moi", "sur mon PC", "concrètement"),
    "en": ("thanks", "please", "pls", "plz", "exactly", "in short", "simply", "for a beginner", "in two words",
           "thanks in advance", "again", "in Domicile", "by the way", "in practice", "in your opinion", "at home",
           "on my PC", "basically", "in simple terms", "actually"),
}  # fmt: skip
SMALL = {
    "fr": wordset(
        "le la les un une des de du d l à au aux en et ou est ce c que qu qui quoi je j tu me m "
        "te t se s il on ne n pas plus mon ma mes ton ta votre pour par sur avec dans y a ai as "
        "sont faire fait"
    ),
    "en": wordset(
        "the a an of to in on and or is are do does did it its this that i you me my your for "
        "with by at be can would should so what's"
    ),
}  # fmt: skip
# Other words for the same thing, whatever the question is.
SYNONYMS = {
    "fr": {
        "un modèle": ("un LLM", "une IA", "un modèle d'IA", "un modèle de langage"), "modèles": ("LLM", "IA"),
        "le modèle": ("le LLM", "l'IA", "mon modèle"), "mon PC": ("mon ordi", "ma machine", "mon ordinateur"),
        "carte graphique": ("carte vidéo", "GPU", "carte"), "choisir": ("prendre", "sélectionner", "retenir"),
        "télécharger": ("récupérer", "charger", "downloader"), "supprimer": ("effacer", "virer", "enlever"),
        "faire tourner": ("lancer", "exécuter", "utiliser"), "je veux": ("je souhaite", "j'ai envie de", "j'aimerais"),
        "pourquoi": ("pour quelle raison", "comment se fait-il que"), "combien de": ("quelle quantité de",),
        "voir": ("afficher", "consulter", "regarder"), "faut-il": ("est-ce qu'il faut", "doit-on", "on doit"),
        "peut-on": ("est-ce qu'on peut", "on peut", "est-il possible de"), "puis-je": ("est-ce que je peux", "je peux"),
        "utiliser": ("employer", "me servir de"), "connaître": ("savoir", "découvrir"), "faire": ("réaliser",),
        "dossier": ("répertoire", "emplacement"), "arrêter": ("stopper", "couper"), "ai-je": ("j'ai",),
        "différence": ("écart", "distinction"), "fichier": ("document", "fichier modèle"), "rapide": ("véloce", "vif"),
        "stockés": ("enregistrés", "mis", "conservés"), "mémoire": ("mémoire vive", "ram", "mémoire"),
        "que faire": ("quoi faire", "une idée", "une solution", "comment régler ça"), "bien": ("correct", "bon"),
    },
    "en": {
        "a model": ("an LLM", "an AI", "an AI model", "a language model"), "models": ("LLMs", "AIs"),
        "the model": ("the LLM", "the AI", "my model"), "my PC": ("my computer", "my machine", "my rig"),
        "graphics card": ("video card", "GPU", "card"), "choose": ("pick", "select", "go with"),
        "download": ("fetch", "get", "grab"), "delete": ("remove", "erase", "get rid of"),
        "run": ("launch", "execute", "use"), "i want to": ("i'd like to", "i wish to", "i need to"),
        "why": ("for what reason", "how come"), "how much": ("what amount of",), "see": ("view", "check", "look at"),
        "should i": ("must i", "do i have to", "ought i to"), "can i": ("may i", "am i able to", "could i"),
        "use": ("employ", "work with"), "know": ("find out", "learn"), "make": ("build", "produce"),
        "folder": ("directory", "location"), "stop": ("halt", "shut down", "quit"), "file": ("model file", "document"),
        "difference": ("distinction", "contrast"), "fast": ("quick", "speedy"), "stored": ("saved", "put", "located"),
        "memory": ("ram", "memory"), "what can i do": ("any idea", "any fix", "what now"), "good": ("decent", "fine"),
        "does not": ("doesn't",), "is not": ("isn't",), "i have": ("i've got", "i own"), "best": ("ideal", "right"),
        "should": ("do", "must"), "cheap": ("inexpensive",), "large": ("big", "huge"), "small": ("little", "tiny"),
    },
}  # fmt: skip
# Words with no link to local AI: they teach graine to say "I do not know" under the same frames.
THINGS = {
    "fr": (
        "la pluie", "le football", "une girafe", "le fromage", "la mer", "un volcan", "la démocratie", "le piano",
        "une baleine", "le jardinage", "l'amour", "la bourse", "le tennis", "une guitare", "la philosophie", "un impôt",
        "le chocolat", "une fusée", "la grippe", "un dentiste", "la musique classique", "le surf", "un avocat",
        "le réchauffement climatique", "une tomate", "la gravité", "un trou noir", "Mars", "le Moyen Âge", "un notaire",
        "le yoga", "le vélo", "un roman", "la poésie", "un mammouth", "le pétrole", "une banque", "la TVA", "le judo",
        "la lune", "un arc-en-ciel", "la tour Eiffel", "un château", "le roi Arthur", "la vitamine C", "le sommeil",
        "un cheval", "le cholestérol", "la Bretagne", "un passeport", "le ramadan", "Noël",
        "la bicyclette", "un sonnet",
        "le théâtre", "Paris", "Londres", "la Russie", "un tremblement de terre", "la peinture", "le ski", "un chat",
        "la pomme de terre", "un requin", "l'ADN", "le métro", "un divorce", "la plomberie", "le carburateur", "le riz",
    ),
    "en": (
        "rain", "football", "a giraffe", "cheese", "the sea", "a volcano", "democracy", "the piano", "a whale",
        "gardening", "love", "the stock market", "tennis", "a guitar", "philosophy", "a tax", "chocolate", "a rocket",
        "the flu", "a dentist", "classical music", "surfing", "a lawyer", "climate change", "a tomato", "gravity",
        "a black hole", "Mars", "the Middle Ages", "yoga", "a bicycle", "a novel", "poetry", "a mammoth", "oil",
        "a bank", "VAT", "judo", "the moon", "a rainbow", "the Eiffel tower", "a castle", "King Arthur", "vitamin C",
        "sleep", "a horse", "cholesterol", "Scotland", "a passport", "Ramadan", "Christmas", "a sonnet", "theatre",
        "Paris", "London", "Russia", "an earthquake", "painting", "skiing", "a cat", "potatoes", "a shark", "DNA",
        "the subway", "divorce", "plumbing", "a carburettor", "rice", "a mortgage", "the piano", "history",
    ),
}  # fmt: skip
DEEDS = {
    "fr": (
        "cuire un oeuf", "nager", "peindre un mur", "réparer une fuite", "voyager au Japon", "apprendre l'espagnol",
        "gagner au loto", "maigrir", "courir un marathon", "planter un arbre", "changer une roue", "tricoter",
        "écrire un CV", "trouver l'amour", "payer moins d'impôts", "jouer aux échecs", "soigner un rhume", "danser",
        "acheter une maison", "élever des poules", "faire du pain", "nettoyer un tapis", "arrêter de fumer", "chanter",
        "conduire une moto", "réserver un train", "préparer un examen", "faire un noeud de cravate", "laver un pull",
    ),
    "en": (
        "boil an egg", "swim", "paint a wall", "fix a leak", "travel to Japan", "learn Spanish", "win the lottery",
        "lose weight", "run a marathon", "plant a tree", "change a wheel", "knit", "write a CV", "find love",
        "pay less tax", "play chess", "cure a cold", "dance", "buy a house", "raise chickens", "bake bread",
        "clean a carpet", "stop smoking", "sing", "ride a motorbike", "book a train", "prepare an exam",
        "tie a tie", "wash a sweater",
    ),
}  # fmt: skip
SYSTEM = {
    "fr": (
        "Tu es un assistant utile.", "Tu es graine, un assistant local.", "Réponds en français.", "Sois bref.",
        "Tu aides une personne qui débute avec l'IA locale.", "Réponds poliment et avec précision.",
        "Tu es un expert en matériel informatique.", "N'invente rien.", "Tu parles à un enfant de dix ans.",
        "Donne des réponses courtes.", "L'utilisateur travaille dans une petite entreprise.", "Reste calme.",
        "Ne donne jamais de conseil médical.", "Si tu ne sais pas, dis-le.", "Utilise un ton amical.",
        "Nous sommes vendredi.", "L'utilisateur s'appelle Camille.", "Vérifie chaque chiffre avant de répondre.",
        "Tu fais partie d'un test automatique.", "Garde la confidentialité des échanges.", "Écris sans fautes.",
    ),
    "en": (
        "You are a helpful assistant.", "You are graine, a local assistant.", "Answer in English.", "Be brief.",
        "You help a person who is new to local AI.", "Answer politely and precisely.", "You are a hardware expert.",
        "Do not make anything up.", "You are talking to a ten year old child.", "Give short answers.",
        "The user works in a small company.", "Stay calm.", "Never give medical advice.", "Use a friendly tone.",
        "If you do not know, say so.", "Today is Friday.", "The user is called Camille.",
        "Check every figure before answering.", "You are part of an automatic test.", "Keep the exchange private.",
        "Write without mistakes.", "Always answer in the language of the user.",
    ),
}  # fmt: skip


def spread(template: str, rng: Random) -> str:
    """Draw one of the choices of every `{a|b}`, the innermost first."""
    while match := re.search(r"\{([^{}]*)\}", template):
        template = template[: match.start()] + rng.choice(match[1].split("|")) + template[match.end() :]
    return re.sub(r" +", " ", template).strip()


def elide(text: str) -> str:
    """French articles and vowels after the words of a frame: "de le" is "du", "que un" is "qu'un"."""
    text = re.sub(r"\bde le (?=\w)", "du ", text)
    text = re.sub(r"\bde les (?=\w)", "des ", text)
    text = re.sub(r"\bd' (?=\w)", "d'", text)
    return re.sub(
        r"\b(qu|d)e (?=(un|une|il|elle|on|open|imatrix|ollama|onnx|inférence)\b)", r"\1'", text, flags=re.IGNORECASE
    )


def normalise(text: str) -> str:
    """Casefold, without accents and punctuation: two questions that look alike become equal."""
    text = unicodedata.normalize("NFKD", text.casefold())
    text = "".join(char for char in text if not unicodedata.combining(char))
    return " ".join(re.sub(r"[^\w]+", " ", text).split())


def _unknown(lang: str, rng: Random) -> str:
    """A word that does not exist: what graine has never seen is outside its subject."""
    word = "".join(rng.choice("bcdfgjklmnprstvz") + rng.choice("aeiouy") for _ in range(rng.randint(2, 4)))
    article = rng.choice({"fr": ("le ", "un ", "la ", "", "les "), "en": ("the ", "a ", "", "", "my ")}[lang])
    return article + (word.title() if rng.random() < 0.3 else word + rng.choice(("", "r", "s", "n")))


def plain(fact: Fact, lang: str, rng: Random) -> str:
    """One well-written question for this fact."""
    side = fact.sides[lang]
    if fact.id == "outside" and rng.random() < 0.45:
        frames, pool = (DEFINE, THINGS) if rng.random() < 0.65 else (DO, DEEDS)
        thing = _unknown(lang, rng) if frames is DEFINE and rng.random() < 0.25 else rng.choice(pool[lang])
        text = rng.choice(frames[lang]).format(s=thing)
        return elide(text) if lang == "fr" else text
    if side.written and rng.random() < WRITTEN:
        return rng.choice(side.written)
    kinds: list[tuple[str, float]] = []
    if side.subjects:
        kinds.append(("define", 1.0))
    if side.actions:
        kinds.append(("do", 1.0))
    if side.questions:
        kinds.append(("ask", 0.35 + 0.12 * min(len(side.questions), 12)))
    kind = rng.choices([name for name, _ in kinds], [weight for _, weight in kinds])[0]
    if kind == "define":
        text = rng.choice(DEFINE[lang]).format(s=spread(rng.choice(side.subjects), rng))
    elif kind == "do":
        text = rng.choice(DO[lang]).format(s=spread(rng.choice(side.actions), rng))
    else:
        text = spread(rng.choice(side.questions), rng)
    return elide(text) if lang == "fr" else text


def _synonyms(text: str, lang: str, rng: Random) -> str:
    for word, others in SYNONYMS[lang].items():
        if word in text and rng.random() < 0.3:
            text = re.sub(rf"\b{word}\b", rng.choice(others), text, count=1)
    return text


def _typo(word: str, rng: Random) -> str:
    if len(word) < 4 or not word.isalpha():
        return word
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    return word[:at] + word[at] + word[at:]


def _keywords(text: str, lang: str, rng: Random) -> str:
    words = [w for w in re.findall(r"[\w.\-/:]+(?:'(?=\w))?", text) if w.strip("'").casefold() not in SMALL[lang]]
    if rng.random() < 0.4:
        rng.shuffle(words)
    return " ".join(words).replace("' ", "'")


def rough(text: str, lang: str, rng: Random) -> str:
    """The same question as people really type it."""
    if rng.random() < 0.5:
        text = _synonyms(text, lang, rng)
    if rng.random() < 0.12:
        text = _keywords(text, lang, rng) or text
    if rng.random() < 0.12 and len(words := text.split()) > 4:
        at = rng.randrange(len(words))
        if words[at].casefold() in SMALL[lang] or rng.random() < 0.25:
            del words[at]
        text = " ".join(words)
    if rng.random() < 0.25:  # whatever word is left out, the others must be enough
        text = " ".join(word for word in text.split() if rng.random() > 0.18) or text
    if rng.random() < 0.22:
        text = f"{rng.choice(BEFORE[lang])} {text}"
    if rng.random() < 0.15:
        bare = re.sub(r"\s*[?!.]+$", "", text)
        text = f"{bare}{rng.choice((' ', ', '))}{rng.choice(AFTER[lang])}{rng.choice((' ?', '?', ''))}"
    if rng.random() < 0.12:
        text = " ".join(_typo(word, rng) if rng.random() < 0.25 else word for word in text.split(" "))
    if rng.random() < 0.25:
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    if rng.random() < 0.35:
        text = re.sub(r"\s*[?!.]+$", "", text)
    elif rng.random() < 0.2:
        text = text.replace(" ?", "?")
    if rng.random() < 0.12:
        text = text.replace("'", "\u2019")
    case = rng.random()
    if case < 0.35:
        text = text.lower()
    elif case < 0.9:
        text = text[:1].upper() + text[1:]
    elif case < 0.92:
        text = text.upper()
    return text.strip()


def ask(fact: Fact, lang: str, rng: Random) -> str:
    text = plain(fact, lang, rng)
    return rough(text, lang, rng) if rng.random() < 0.85 else text[:1].upper() + text[1:]


def system(rng: Random, sentences: int) -> str:
    """A system prompt of about so many sentences, in one language or in both."""
    lang = rng.choice(("fr", "en"))
    parts: list[str] = []
    for _ in range(sentences):
        if sentences > 4 and rng.random() < 0.5:
            pool = THINGS[rng.choice(("fr", "en"))]
            parts.append(f"{', '.join(rng.sample(pool, rng.randint(2, 6)))}.")
        else:
            parts.append(rng.choice(SYSTEM[lang]))
        if sentences > 4 and rng.random() < 0.2:
            lang = rng.choice(("fr", "en"))
    return rng.choice((" ", "\n")).join(parts)
