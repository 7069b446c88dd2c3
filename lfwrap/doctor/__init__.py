"""What this machine can do for lfwrap, and what is missing.

Other packages may import both modules: `machine_facts` looks, `doctor` judges what was found.
"""
