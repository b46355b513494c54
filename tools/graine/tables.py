"""Facts that come in rows: graphics cards, quantisation levels, model sizes, memory sizes.

Numbers of the cards are the makers' (VRAM in GB, bandwidth in GB/s, board power in W); sizes of
the quantisation levels are those of Llama 3.1 8B as published on the Hub (bits include the scales
and the tensors kept at a higher precision); sizes of whole models are typical Q4_K_M files.
This module writes the rows as facts and does not know how they are asked beyond their questions.
"""

from __future__ import annotations

import re
from dataclasses import replace

from tools.graine.facts import Fact, Side

# name, other names, VRAM in GB (fr, en where they differ), GB/s, W
CARDS: tuple[tuple[str, str, str, int, int], ...] = (
    ("RTX 5090", "5090", "32", 1792, 575),
    ("RTX 5080", "5080", "16", 960, 360),
    ("RTX 5070 Ti", "5070 Ti", "16", 896, 300),
    ("RTX 5070", "5070", "12", 672, 250),
    ("RTX 5060 Ti", "5060 Ti", "8/16", 448, 180),
    ("RTX 5060", "5060", "8", 448, 150),
    ("RTX 4090", "4090", "24", 1008, 450),
    ("RTX 4080 SUPER", "4080 Super", "16", 736, 320),
    ("RTX 4080", "4080", "16", 717, 320),
    ("RTX 4070 Ti", "4070 Ti", "12", 504, 285),
    ("RTX 4070", "4070", "12", 504, 200),
    ("RTX 4060 Ti", "4060 Ti", "8/16", 288, 165),
    ("RTX 4060", "4060", "8", 272, 115),
    ("RTX 3090 Ti", "3090 Ti", "24", 1008, 450),
    ("RTX 3090", "3090", "24", 936, 350),
    ("RTX 3080", "3080", "10/12", 760, 350),
    ("RTX 3070", "3070", "8", 448, 220),
    ("RTX 3060", "3060", "8/12", 360, 170),
    ("RTX 2080 Ti", "2080 Ti", "11", 616, 250),
    ("RTX 2060", "2060", "6", 336, 160),
    ("GTX 1660", "1660", "6", 192, 120),
    ("GTX 1080 Ti", "1080 Ti", "11", 484, 250),
    ("GTX 1060", "1060", "3/6", 192, 120),
    ("Tesla P40", "P40", "24", 347, 250),
    ("Tesla T4", "T4", "16", 320, 70),
    ("Nvidia A100", "A100", "40/80", 2039, 400),
    ("Nvidia H100", "H100", "80", 3350, 700),
    ("Nvidia H200", "H200", "141", 4800, 700),
    ("RTX A6000", "A6000", "48", 768, 300),
    ("RX 7900 XTX", "7900 XTX", "24", 960, 355),
    ("RX 7900 XT", "7900 XT", "20", 800, 315),
    ("RX 7800 XT", "7800 XT", "16", 624, 263),
    ("RX 7600 XT", "7600 XT", "16", 288, 190),
    ("RX 9070 XT", "9070 XT", "16", 640, 304),
    ("RX 9060 XT", "9060 XT", "8/16", 320, 160),
    ("RX 6700 XT", "6700 XT", "12", 384, 230),
    ("RX 6600", "6600", "8", 224, 132),
    ("Arc B580", "B580", "12", 456, 190),
    ("Arc A770", "A770", "8/16", 560, 225),
)

# name, memory choices in GB, GB/s
CHIPS: tuple[tuple[str, str, str], ...] = (
    ("M1", "8/16", "68"),
    ("M1 Max", "32/64", "400"),
    ("M2", "8/16/24", "100"),
    ("M3", "8/16/24", "100"),
    ("M4", "16/24/32", "120"),
    ("M4 Pro", "24/48/64", "273"),
    ("M5", "16/24/32", "154"),
)

# level, bits per weight, GB for an 8B, quality and advice in French, in English
LEVELS: tuple[tuple[str, str, str, str, str], ...] = (
    ("Q2_K", "3.2", "3.2", "une forte perte de qualité, à éviter", "a strong loss of quality, to avoid"),
    ("Q3_K_M", "4.0", "4.0", "une perte visible", "a visible loss"),
    ("Q4_K_S", "4.7", "4.7", "une perte faible, un peu plus que Q4_K_M", "a low loss, a bit more than Q4_K_M"),
    ("Q4_K_M", "4.9", "4.9", "une perte faible, le choix habituel", "a low loss, the usual choice"),
    ("Q5_K_M", "5.7", "5.7", "une perte très faible, recommandé si la mémoire le permet",
     "a very low loss, recommended if memory allows"),
    ("Q6_K", "6.6", "6.6", "une perte presque invisible", "a loss that is hardly visible"),
    ("Q8_0", "8.5", "8.5", "une perte infime, presque l'original", "a tiny loss, almost the original"),
    ("F16", "16", "16.1", "la précision d'origine, sans vraie perte", "the original precision, without real loss"),
    ("F32", "32", "32.1", "une pleine précision, inutile pour discuter", "full precision, useless for chatting"),
)  # fmt: skip

# billions of parameters, Q4_K_M file in GB, memory to plan with a moderate context, in GB
SIZES: tuple[tuple[str, str, str], ...] = (
    ("0.5", "0.4", "1"),
    ("1", "0.8", "2"),
    ("3", "2", "3"),
    ("7", "4.4", "6"),
    ("8", "4.9", "6"),
    ("14", "9", "11"),
    ("32", "20", "23"),
    ("70", "42.5", "46"),
)

# GB of memory, largest comfortable model in Q4_K_M
MEMORIES: tuple[tuple[str, str, str], ...] = (
    ("4", "1B à 3B", "1B to 3B"),
    ("6", "3B à 4B", "3B to 4B"),
    ("8", "7B à 8B avec un petit contexte", "7B to 8B with a small context"),
    ("12", "8B avec un grand contexte", "8B with a large context"),
    ("16", "14B", "14B"),
    ("24", "32B avec un petit contexte", "32B with a small context"),
    ("32", "32B avec un grand contexte", "32B with a large context"),
    ("48", "70B avec un petit contexte", "70B with a small context"),
)


def comma(number: str) -> str:
    return number.replace(".", ",")


def choices(text: str, word: str) -> str:
    """ "8/16" said with a word: "8 or 16"."""
    *first, last = text.split("/")
    return f"{', '.join(first)} {word} {last}" if first else last


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _card(name: str, short: str, vram: str, bandwidth: int, watts: int) -> Fact:
    brand = {"RTX": "NVIDIA", "GTX": "NVIDIA", "RX": "AMD Radeon", "Arc": "Intel"}.get(
        name.split(maxsplit=1)[0], "Nvidia"
    )
    names = f"{{{name}|{name}|{short}|{brand} {short}|{name.replace(' ', '')}|carte {name}}}"
    french = (
        f"{{combien de|quelle|c'est quoi la}} {{VRAM|mémoire|mémoire vidéo}} {{a|pour|sur|de}} {{la|une|ma}} {names} ?",
        f"{{VRAM|mémoire|bande passante|specs|caractéristiques|watts|consommation|Go}} {{|de la |d'une }}{names} ?",
        f"{names}{{| :}} {{VRAM|combien de Go|mémoire|bande passante|quelle conso|c'est quoi|pour l'IA|vaut quoi}} ?",
        f"{{que vaut|parle-moi de|que penses-tu de|tu connais}} {{la|une}} {names} ?",
        (
            f"{{quelle est|donne-moi|c'est quoi}} la {{bande passante|consommation|puissance|VRAM|vitesse mémoire}} "
            f"{{de la|d'une|de ma}} {names} ?"
        ),
        f"{{combien consomme|combien de watts pour|combien de gigas a|combien de Go a}} {{la|une}} {names} ?",
        f"j'ai {{une|la}} {names}, {{combien de VRAM|c'est bien|quelle mémoire}} ?",
        f"{{la|une}} {names} {{a combien de mémoire|a combien de VRAM|possède combien de Go|consomme combien}} ?",
        f"{names}",
    )
    names = names.replace("carte ", "")
    english = (
        f"how much {{VRAM|memory|video memory}} {{does the|does a|is on the|has the|for the}} {names} {{have|}}?",
        f"{{VRAM|memory|bandwidth|specs|wattage|power draw|GB}} {{|of the |of a |on the }}{names}?",
        f"{names}{{|:}} {{VRAM|how many GB|memory|bandwidth|specs|power|good for AI|what is it worth}}?",
        f"{{tell me about|what about|is it worth buying|what do you think of}} {{the|a}} {names} {{for AI|}}?",
        f"what is the {{bandwidth|power draw|VRAM|memory speed|memory bandwidth}} of {{the|a|my}} {names}?",
        f"how {{many watts|much power|many gigabytes|many GB}} {{does the|does a}} {names} {{use|have|draw|need}}?",
        f"i have {{a|the}} {names}, {{how much VRAM|is it good|what memory}}?",
        f"{{is|how good is}} {{the|a}} {names} {{good|}} for {{AI|local AI|LLMs}}?",
        f"{names} graphics card",
    )
    vram_fr, vram_en = choices(vram, "ou"), choices(vram, "or")
    return Fact(
        f"card_{slug(name)}",
        "cards",
        {
            "fr": Side(
                rf"{name}\b(?! (Ti|SUPER|XT)).*\b{vram_fr} Go.*{bandwidth}",
                f"{name} : {vram_fr} Go de VRAM, une bande passante d'environ {bandwidth} Go/s et {watts} W.",
                questions=french,
            ),
            "en": Side(
                rf"{name}\b(?! (Ti|SUPER|XT)).*\b{vram_en} GB.*{bandwidth}",
                f"{name}: {vram_en} GB of VRAM, about {bandwidth} GB/s of bandwidth and {watts} W.",
                questions=english,
            ),
        },
        0.75,
    )


def _chip(name: str, memory: str, bandwidth: str) -> Fact:
    names = f"{{{name}|puce {name}|Mac {name}|MacBook {name}|Apple {name}}}"
    french = (
        f"{{combien de|quelle}} {{mémoire|RAM|VRAM|bande passante}} {{a|pour|sur}} {{le|un|mon}} {names} ?",
        f"{{mémoire|bande passante|RAM}} {{du |d'un |}}{names} ?",
        f"{names} {{bande passante|mémoire|pour l'IA|RAM}} ?",
        f"{{que vaut|parle-moi d'|que penses-tu d'}} un {names} {{pour l'IA|}} ?",
        f"quelle est la {{bande passante|mémoire}} {{du|d'un}} {names} ?",
    )
    names = names.replace("puce ", "")
    english = (
        f"how much {{memory|RAM|VRAM|bandwidth}} {{does the|does a|on the|has the}} {names} {{have|}}?",
        f"{{memory|bandwidth|RAM}} {{of the |of a |}}{names}?",
        f"{names} {{chip|}} {{bandwidth|memory|for AI|RAM}}?",
        f"{{is|what about|tell me about}} {{a|the}} {names} {{good|}} {{for AI|}}?",
        f"what is the {{bandwidth|memory}} of {{the|a}} {names} {{chip|}}?",
    )
    fr, en = choices(memory, "ou"), choices(memory, "or")
    return Fact(
        f"chip_{slug(name)}",
        "cards",
        {
            "fr": Side(
                rf"Apple {name} :.*{bandwidth} Go/s",
                f"Apple {name} : {fr} Go de mémoire unifiée et une bande passante d'environ {bandwidth} Go/s.",
                questions=french,
            ),
            "en": Side(
                rf"Apple {name}:.*{bandwidth} GB/s",
                f"Apple {name}: {en} GB of unified memory and about {bandwidth} GB/s of bandwidth.",
                questions=english,
            ),
        },
        0.6,
    )


def _level(name: str, bits: str, size: str, french: str, english: str) -> Fact:
    names = f"{{{name}|{name}|le {name}|la version {name}|la quantification {name}}}"
    names_en = f"{{{name}|{name}|the {name} version|the {name} quant|{name} quantization}}"
    return Fact(
        f"level_{slug(name)}",
        "quantisation",
        {
            "fr": Side(
                rf"{name} :.*{comma(bits)} bits",
                f"{name} : environ {comma(bits)} bits par poids, soit {comma(size)} Go pour un modèle 8B, "
                f"avec {french}.",
                subjects=(name, f"la quantification {name}", f"le niveau {name}", f"un fichier {name}"),
                questions=(
                    f"que vaut {names} ?",
                    f"{{combien de bits|quelle taille|quelle qualité|quelle perte}} {{pour|en|avec|a}} {names} ?",
                    f"{names} {{c'est bien|est-ce bien|bonne qualité|à éviter|ça vaut quoi}} ?",
                    f"{{faut-il|dois-je|puis-je}} {{prendre|utiliser|choisir|éviter}} {names} ?",
                    f"{{combien pèse|quelle est la taille d'}} un {{8B|modèle 8B}} en {name} ?",
                    f"{names} {{bits|taille|qualité|perte}} ?",
                ),
            ),
            "en": Side(
                rf"{name}:.*{bits} bits",
                f"{name}: about {bits} bits per weight, that is {size} GB for an 8B model, with {english}.",
                subjects=(name, f"the {name} quantization", f"the {name} level", f"a {name} file"),
                questions=(
                    f"how good is {names_en}?",
                    f"{{how many bits|what size|what quality|what loss}} {{for|in|with|has}} {names_en}?",
                    f"is {names_en} {{good|any good|good quality|to avoid|fine}}?",
                    f"should i {{take|use|choose|avoid}} {names_en}?",
                    f"{{how big|how heavy|how large}} is {{an 8B|an 8B model}} in {name}?",
                    f"{names_en} {{bits|size|quality|loss}}?",
                ),
            ),
        },
        0.9,
    )


def _size(billions: str, file: str, memory: str) -> Fact:
    models = {"7": "Mistral 7B", "8": "Llama 3.1 8B", "3": "Llama 3.2 3B", "70": "Llama 3.3 70B", "14": "Qwen2.5 14B",
              "32": "Qwen2.5 32B", "1": "Llama 3.2 1B", "0.5": "Qwen2.5 0.5B"}  # fmt: skip
    names = f"{{modèle {billions}B|{billions}B|modèle de {comma(billions)} milliards de paramètres|{models[billions]}}}"
    names_en = f"{{{billions}B model|{billions}B|model with {billions} billion parameters|{models[billions]}}}"
    return Fact(
        f"size_{slug(billions)}b",
        "sizes",
        {
            "fr": Side(
                rf"^Un modèle {billions}B.*{comma(file)} Go.*{memory} Go",
                f"Un modèle {billions}B en Q4_K_M pèse environ {comma(file)} Go. Prévoyez à peu près {memory} Go "
                f"de mémoire avec un contexte modéré.",
                questions=(
                    (
                        f"{{combien de|quelle}} {{mémoire|RAM|VRAM}} {{pour|faut-il pour|demande|prend}} un {names} "
                        f"{{en Q4|en Q4_K_M|}} ?"
                    ),
                    f"{{combien de Go|combien de place|quelle taille}} {{pour|fait|prend|pèse}} un {names} ?",
                    f"{{combien pèse|quelle est la taille d'|que pèse}} un {names} {{en Q4_K_M|en Q4|quantifié|}} ?",
                    f"{{RAM|VRAM|mémoire}} {{pour un|pour|d'un}} {names} ?",
                    f"{{j'aimerais|je veux}} {{lancer|faire tourner}} un {names}, {{il faut combien|quelle mémoire}} ?",
                    f"de {{quoi|combien de mémoire}} ai-je besoin pour {{lancer|faire tourner}} un {names} ?",
                ),
            ),
            "en": Side(
                rf"^A {billions}B model.*{file} GB.*{memory} GB",
                f"A {billions}B model in Q4_K_M weighs about {file} GB. Plan roughly {memory} GB of memory "
                f"with a moderate context.",
                questions=(
                    (
                        f"how much {{memory|RAM|VRAM}} {{for|do i need for|does it take for|to run}} a {names_en} "
                        f"{{in Q4|in Q4_K_M|}}?"
                    ),
                    f"{{how many GB|how much space|what size}} {{for|is|takes}} a {names_en}?",
                    f"how {{big|heavy|large}} is a {names_en} {{in Q4_K_M|in Q4|quantized|}}?",
                    f"{{RAM|VRAM|memory}} {{for a|for|of a}} {names_en}?",
                    f"i {{want|would like}} to run a {names_en}, {{how much do i need|what memory}}?",
                    f"what do i need to {{run|load|start}} a {names_en}?",
                ),
            ),
        },
        0.9,
    )


def _memory(gigabytes: str, french: str, english: str) -> Fact:
    fr = f"{gigabytes} {{Go|Go|gigas|gigaoctets}} {{de RAM|de VRAM|de mémoire|}}"
    en = f"{gigabytes} {{GB|GB|gigs|gigabytes}} {{of RAM|of VRAM|of memory|}}"
    return Fact(
        f"memory_{gigabytes}",
        "sizes",
        {
            "fr": Side(
                rf"^Avec {gigabytes} Go.*{french}",
                f"Avec {gigabytes} Go, visez un modèle {french}, en Q4_K_M. La commande domicile fit le vérifie "
                f"pour votre machine.",
                questions=(
                    f"{{quel modèle|quelle IA|quoi|quels modèles}} {{pour|avec|sur}} {fr} ?",
                    f"que {{puis-je|peut-on}} {{lancer|faire tourner|utiliser|faire}} avec {fr} ?",
                    f"j'ai {fr}, {{quel modèle|que choisir|que puis-je lancer|quelle taille}} ?",
                    f"{{mon PC a|mon ordi a|ma carte a}} {fr}, {{quel modèle|que prendre|ça suffit pour quoi}} ?",
                    f"{{est-ce que|}} {fr} {{suffisent|ça suffit|c'est assez}} {{pour l'IA|pour un LLM|}} ?",
                    f"{{le plus gros modèle|quelle taille de modèle|le meilleur modèle}} {{pour|avec|dans}} {fr} ?",
                ),
            ),
            "en": Side(
                rf"^With {gigabytes} GB.*{english}",
                f"With {gigabytes} GB, aim for a {english} model in Q4_K_M. The command domicile fit checks it "
                f"for your machine."
                if "with" not in english
                else f"With {gigabytes} GB, aim for a model of {english}, in Q4_K_M. The command domicile fit "
                f"checks it for your machine.",
                questions=(
                    f"{{which model|which AI|what|what models}} {{for|with|on}} {en}?",
                    f"what can i {{run|load|use|do}} with {en}?",
                    f"i have {en}, {{which model|what should i choose|what can i run|what size}}?",
                    f"{{my PC has|my computer has|my card has}} {en}, {{which model|what to take|enough for what}}?",
                    f"{{is|are}} {en} enough {{for AI|for an LLM|}}?",
                    f"{{the biggest model|what model size|the best model}} {{for|with|in}} {en}?",
                ),
            ),
        },
        0.9,
    )


ROW_WEIGHT = 0.6
"""A row looks like the others of its table: it is learned with fewer questions than a fact of its own kind."""


def facts() -> list[Fact]:
    rows = [
        *(_card(*row) for row in CARDS),
        *(_chip(*row) for row in CHIPS),
        *(_level(*row) for row in LEVELS),
        *(_size(*row) for row in SIZES),
        *(_memory(*row) for row in MEMORIES),
    ]
    return [replace(row, weight=ROW_WEIGHT) for row in rows]
