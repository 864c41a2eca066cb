"""What every picture is drawn with: elements, colours, lettering, scales, marks, and labels that do not overlap."""
