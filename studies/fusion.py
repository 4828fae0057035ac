"""The four fusions on the generated world: Figure 3 of CLIP4VLA as a table.

python studies/fusion.py [FOLDER] [--quick]
"""

from clip4vla_world import place_of, started_table
from record import record

from trichord_world.studies import FUSION

if __name__ == "__main__":
    record("fusion", started_table(FUSION, place_of(__doc__), epochs=12))
