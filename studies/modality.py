"""Visual alone, audio alone, and both, on the generated world: Table 2 of CLIP4VLA in small.

python studies/modality.py [FOLDER] [--quick]
"""

from clip4vla_world import place_of, started_table
from record import record

from trichord_world.studies import MODALITY

if __name__ == "__main__":
    record("modality", started_table(MODALITY, place_of(__doc__), epochs=12))
