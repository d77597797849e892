"""Collections of pictures as CLIP features on disk, and what can be asked of them.

``files`` lists and decodes pictures, ``update`` embeds what is new into an ``index`` (its tables
are in ``database``; ``opening`` says which one belongs to a CLIP), ``query`` finds the nearest ones
in a ``snapshot`` of it (exactly, or through ``approximate`` for large collections), ``duplicates``
and ``projection`` look at a whole collection. Importing this package reads and loads nothing.
"""
